//! What a test of a rule says: the world keeps its promises with the rule, and breaks this one without it.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

use stateright::{Checker as _, HasDiscoveries, Model};

/// All states that can be reached keep all promises.
pub(crate) fn holds<M>(rule: &str, world: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let begun = Instant::now();
    let checker = world.checker().spawn_bfs().join();
    checker.assert_properties();
    assert!(checker.is_done());
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("\n{rule}: holds in all {states} states, up to {depth} steps away ({:.1?})", begun.elapsed());
}

/// A state can be reached that breaks this promise.
pub(crate) fn breaks<M>(rule: &str, promise: &'static str, world: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let only = HasDiscoveries::AllOf(BTreeSet::from([promise]));
    let checker = world.checker().finish_when(only).spawn_bfs().join();
    let Some(path) = checker.discovery(promise) else {
        panic!("{rule}: not needed here: \"{promise}\" is kept without it");
    };
    let actions = path.into_actions();
    println!("  otherwise \"{promise}\" breaks in {} steps:", actions.len());
    for action in actions {
        println!("    {}", checker.model().format_action(&action));
    }
}

/// The rule is enough, and it is needed.
pub(crate) fn needed<M>(rule: &str, promise: &'static str, with: M, without: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    holds(rule, with);
    breaks(rule, promise, without);
}
