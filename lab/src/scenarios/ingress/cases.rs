//! The cases, in groups as ingress-nginx documents its annotations.

mod affinity;
mod backends;
mod canary;
mod cors;
mod routing;

use super::case::Case;

/// Every case.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [routing::CASES, backends::CASES, canary::CASES, affinity::CASES, cors::CASES].into_iter().flatten()
}
