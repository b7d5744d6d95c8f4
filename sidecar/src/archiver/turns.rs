//! A turn of a loop that somebody asks for, and waits for.

use tokio::sync::watch;

/// Turns of one loop. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Turns {
    /// How many were asked for.
    asked: watch::Sender<u64>,
    /// All that were asked for up to this one are over.
    over: watch::Sender<u64>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { asked: watch::Sender::new(0), over: watch::Sender::new(0) }
    }

    /// Asks for a turn, and waits until one that began later is over. Those who ask meanwhile share the next one.
    pub(super) async fn one(&self) {
        let mut over = self.over.subscribe();
        let mut number = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        // The sender lives as long as this.
        let _ = over.wait_for(|over| *over >= number).await;
    }

    /// The loop begins a turn: what [`Self::end`] is to be told.
    pub(super) fn begin(&self) -> u64 {
        *self.asked.borrow()
    }

    /// The turn is over.
    pub(super) fn end(&self, begun: u64) {
        self.over.send_replace(begun);
    }

    /// Wakes the loop when somebody has asked since that turn began.
    pub(super) async fn wanted(&self, begun: u64) {
        let _ = self.asked.subscribe().wait_for(|asked| *asked > begun).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Turns;

    const WORK: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn who_asks_waits_for_a_turn_that_begins_later() {
        let turns = Turns::new();
        // A turn that had begun before it was asked for does not count.
        let begun = turns.begin();
        let asking = turns.one();
        let working = async {
            tokio::time::sleep(WORK).await;
            turns.end(begun);
            turns.wanted(begun).await;
            let begun = turns.begin();
            tokio::time::sleep(WORK).await;
            turns.end(begun);
        };
        let before = tokio::time::Instant::now();
        tokio::join!(asking, working);
        assert!(before.elapsed() >= 2 * WORK, "{:?}", before.elapsed());
        let idle = tokio::time::timeout(WORK, turns.wanted(turns.begin()));
        assert!(idle.await.is_err(), "nobody has asked since");
    }
}
