//! What can go wrong at a store, by what the caller can do about it.

use std::fmt;

/// What was asked of the store. Displayed by the S3 action that it needs, which is what a policy must grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Store an object.
    Put,
    /// Fetch an object or a range of it.
    Get,
    /// Ask for an object's length.
    Head,
    /// List a prefix.
    List,
    /// Delete objects.
    Delete,
}

impl Operation {
    /// All operations, in the order of [`Operation::index`].
    pub const ALL: [Self; 5] = [Self::Put, Self::Get, Self::Head, Self::List, Self::Delete];

    /// The action as S3 policies name it.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Put => "PutObject",
            // HEAD needs the right to get.
            Self::Get | Self::Head => "GetObject",
            Self::List => "ListBucket",
            Self::Delete => "DeleteObject",
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.action())
    }
}

/// A failed call: which, on what, and why in words for a human.
///
/// `reason` carries facts of the store or the network (host, port, certificate, code), never a header or a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("{operation} {key}: not found")]
    NotFound {
        /// What was asked.
        operation: Operation,
        /// The object.
        key: String,
    },
    /// The store refuses, or there are no usable credentials. Surfaces at once, is never repeated.
    #[error("{operation} {key}: access denied: {reason}")]
    Denied {
        /// What was asked; its [`Operation::action`] is what is missing.
        operation: Operation,
        /// The object or prefix.
        key: String,
        /// The store's code, or what is wrong with the credentials.
        reason: String,
    },
    /// The store has the object and does not give it: it lies in a storage class from which it must be restored first.
    #[error("{operation} {key}: withheld: {reason}")]
    Withheld {
        /// What was asked.
        operation: Operation,
        /// The object.
        key: String,
        /// The store's code.
        reason: String,
    },
    /// We were told to stop. No failure.
    #[error("{operation} {key}: cancelled")]
    Cancelled {
        /// What was asked.
        operation: Operation,
        /// The object or prefix.
        key: String,
    },
    /// Worth another attempt: the network, or a store that is busy or unwell.
    #[error("{operation} {key}: {reason}")]
    Transient {
        /// What was asked.
        operation: Operation,
        /// The object or prefix.
        key: String,
        /// What happened.
        reason: String,
    },
    /// The store answered with bytes that cannot be what was stored.
    #[error("{operation} {key}: damaged: {reason}")]
    Corrupt {
        /// What was asked.
        operation: Operation,
        /// The object or prefix.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// Will not work until somebody changes something: no such bucket, wrong region, read-only directory.
    #[error("{operation} {key}: {reason}")]
    Fatal {
        /// What was asked.
        operation: Operation,
        /// The object or prefix.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed if it is simply made again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Transient { .. })
    }

    /// Whether there is no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// What was asked.
    #[must_use]
    pub fn operation(&self) -> Operation {
        match self {
            Self::NotFound { operation, .. }
            | Self::Denied { operation, .. }
            | Self::Withheld { operation, .. }
            | Self::Cancelled { operation, .. }
            | Self::Transient { operation, .. }
            | Self::Corrupt { operation, .. }
            | Self::Fatal { operation, .. } => *operation,
        }
    }

    /// The object or prefix that was asked for.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::NotFound { key, .. }
            | Self::Denied { key, .. }
            | Self::Withheld { key, .. }
            | Self::Cancelled { key, .. }
            | Self::Transient { key, .. }
            | Self::Corrupt { key, .. }
            | Self::Fatal { key, .. } => key,
        }
    }

    /// The outcome as one word, for metrics.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Denied { .. } => "denied",
            Self::Withheld { .. } => "withheld",
            Self::Cancelled { .. } => "cancelled",
            Self::Transient { .. } => "transient",
            Self::Corrupt { .. } => "corrupt",
            Self::Fatal { .. } => "fatal",
        }
    }
}

/// The call that an error is about: makes errors without repeating the key's clone at each place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) operation: Operation,
    pub(crate) key: &'a str,
}

impl<'a> Call<'a> {
    pub(crate) fn new(operation: Operation, key: &'a str) -> Self {
        Self { operation, key }
    }

    pub(crate) fn not_found(self) -> StoreError {
        StoreError::NotFound { operation: self.operation, key: self.key.to_owned() }
    }

    pub(crate) fn denied(self, reason: impl Into<String>) -> StoreError {
        StoreError::Denied { operation: self.operation, key: self.key.to_owned(), reason: reason.into() }
    }

    pub(crate) fn withheld(self, reason: impl Into<String>) -> StoreError {
        StoreError::Withheld { operation: self.operation, key: self.key.to_owned(), reason: reason.into() }
    }

    pub(crate) fn cancelled(self) -> StoreError {
        StoreError::Cancelled { operation: self.operation, key: self.key.to_owned() }
    }

    pub(crate) fn transient(self, reason: impl Into<String>) -> StoreError {
        StoreError::Transient { operation: self.operation, key: self.key.to_owned(), reason: reason.into() }
    }

    pub(crate) fn corrupt(self, reason: impl Into<String>) -> StoreError {
        StoreError::Corrupt { operation: self.operation, key: self.key.to_owned(), reason: reason.into() }
    }

    pub(crate) fn fatal(self, reason: impl Into<String>) -> StoreError {
        StoreError::Fatal { operation: self.operation, key: self.key.to_owned(), reason: reason.into() }
    }
}
