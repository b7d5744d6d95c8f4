//! Ctrl-C: it is for whoever minds it, and ends the command where nobody does.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The interrupts of one run. Until somebody minds them the process ends by them as any other does; from then on they are heard here alone.
#[derive(Debug, Default)]
pub struct Interrupts {
    came: CancellationToken,
    minding: AtomicUsize,
    minded: Notify,
}

/// As long as this is held, an interrupt does not end the command.
#[derive(Debug)]
pub struct Minding<'a>(&'a Interrupts);

impl Interrupts {
    /// From now on an interrupt is for whoever holds this.
    pub fn mind(&self) -> Minding<'_> {
        self.minding.fetch_add(1, Ordering::SeqCst);
        self.minded.notify_one();
        Minding(self)
    }

    /// Whether one came that somebody minded: nothing is begun any more.
    pub fn has_come(&self) -> bool {
        self.came.is_cancelled()
    }

    /// Ends with an interrupt that nobody minds, or with a second one: whoever presses again does not want to wait.
    pub async fn unminded(&self) {
        self.minded.notified().await;
        while tokio::signal::ctrl_c().await.is_ok() {
            if self.take() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// One came: whether it ends the command.
    fn take(&self) -> bool {
        let is_second = self.has_come();
        self.came.cancel();
        is_second || self.minding.load(Ordering::SeqCst) == 0
    }
}

impl Minding<'_> {
    /// Ends with the interrupt, also with one that came before.
    pub async fn came(&self) {
        self.0.came.cancelled().await;
    }
}

impl Drop for Minding<'_> {
    fn drop(&mut self) {
        self.0.minding.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_interrupt_is_for_whoever_minds_it() {
        let interrupts = Interrupts::default();
        let first = interrupts.mind();
        assert!(!interrupts.take(), "it is minded");
        first.came().await;
        interrupts.mind().came().await;
        assert!(interrupts.has_come() && interrupts.take(), "the second one ends the command");

        let interrupts = Interrupts::default();
        drop(interrupts.mind());
        assert!(interrupts.take(), "nobody minds it any more");
    }
}
