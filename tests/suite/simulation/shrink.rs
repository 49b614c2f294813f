//! Shrinks a plan that fails to a smaller one that still fails.

use super::plan::Plan;
use super::run::Broken;

/// Leaves out steps: first halves, then quarters, at last one by one, until every remaining step
/// is needed. `fails` returns the broken promise if a plan still fails in the same way.
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
