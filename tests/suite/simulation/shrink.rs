//! From a plan that fails to one that fails with less in it.

use super::plan::Plan;
use super::run::Broken;

/// Leaves out what can be left out: first halves of the steps, then quarters, at last one by one, until
/// none can be spared. `fails` says how a plan fails, if it does in the way that is looked for.
pub(crate) fn shrink(
    mut plan: Plan,
    mut broken: Broken,
    fails: impl Fn(&Plan) -> Option<Box<Broken>>,
) -> (Plan, Broken) {
    let mut size = plan.steps.len().div_ceil(2).max(1);
    loop {
        let mut spared = false;
        let mut start = 0;
        while start < plan.steps.len() {
            let mut less = plan.clone();
            less.steps.drain(start..(start + size).min(plan.steps.len()));
            match fails(&less) {
                Some(still) => (plan, broken, spared) = (less, *still, true),
                None => start += size,
            }
        }
        match (size, spared) {
            (1, false) => return (plan, broken),
            (1, true) => {}
            _ => size = size.div_ceil(2),
        }
    }
}
