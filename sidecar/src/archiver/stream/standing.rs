//! What becomes of the binlog that was being received when a connection begins.
//!
//! Only what the server still has can be gone on with. What it has not is kept until the tail has archived all of it that is whole;
//! it is never closed: where the server's file ended nobody knows.

use super::tape::Known;

/// What is known of it on both sides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Last {
    /// The server lists it, and at least as long as it is here; nothing was found to be another file's.
    pub(super) is_there: bool,
    /// The server does not send its rest.
    pub(super) is_refused: bool,
    /// Nor the file after it.
    pub(super) is_next_refused: bool,
    /// What is here of it.
    pub(super) known: Known,
    /// All transactions that are here of it are archived.
    pub(super) is_shipped: bool,
}

/// What is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is gone on with.
    GoOn,
    /// It is complete; another one is begun, of the same history.
    PassOver,
    /// It is complete; what follows is of another history.
    Keep,
    /// It can go, and another one of the same history is begun.
    Skip,
    /// It can go; what follows is of another history.
    LetGo,
    /// It can go once it is archived.
    Wait,
}

impl Last {
    pub(super) fn standing(&self) -> Standing {
        match (self.is_there, self.known.has_ended) {
            (true, true) if self.is_refused || self.is_next_refused => Standing::PassOver,
            (true, _) if !self.is_refused => Standing::GoOn,
            (false, true) => Standing::Keep,
            (_, false) if !self.is_shipped => Standing::Wait,
            (true, _) => Standing::Skip,
            (false, false) => Standing::LetGo,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Known, Last, Standing};

    fn standing(change: impl FnOnce(&mut Last)) -> Standing {
        let known = Known { whole_to: 500, has_transactions: true, has_ended: false };
        let mut last = Last { is_there: true, is_refused: false, is_next_refused: false, known, is_shipped: false };
        change(&mut last);
        last.standing()
    }

    #[test]
    fn what_the_server_has_is_gone_on_with() {
        assert_eq!(standing(|_| {}), Standing::GoOn);
        assert_eq!(standing(|last| last.known.has_ended = true), Standing::GoOn);
        assert_eq!(standing(|last| last.is_next_refused = true), Standing::GoOn, "it is not at its end yet");
        let before_refused = |last: &mut Last| (last.known.has_ended, last.is_next_refused) = (true, true);
        assert_eq!(standing(before_refused), Standing::PassOver, "asked again, the server would refuse again");
    }

    #[test]
    fn nothing_that_was_received_goes_before_it_is_archived() {
        let lost = |is_shipped| standing(|last| (last.is_there, last.is_shipped) = (false, is_shipped));
        assert_eq!((lost(false), lost(true)), (Standing::Wait, Standing::LetGo));
        let refused = |is_shipped| standing(|last| (last.is_refused, last.is_shipped) = (true, is_shipped));
        assert_eq!((refused(false), refused(true)), (Standing::Wait, Standing::Skip));
        let whole = |is_shipped| {
            standing(|last| (last.is_there, last.known.has_ended, last.is_shipped) = (false, true, is_shipped))
        };
        assert_eq!((whole(false), whole(true)), (Standing::Keep, Standing::Keep), "it is archived as a closed one");
    }
}
