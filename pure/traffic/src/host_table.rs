//! Something for each host pattern, found in order of specificity: the exact name, longer wildcards, shorter ones, all.

use std::collections::HashMap;

use tidegate_model::traffic::HostPattern;

use crate::hash::Quick;
use crate::name::Name;

#[derive(Debug)]
pub(crate) struct HostTable<T> {
    exact: HashMap<Name, Box<T>, Quick>,
    under: HashMap<Name, Box<T>, Quick>,
    any: Option<T>,
}

impl<T> Default for HostTable<T> {
    fn default() -> Self {
        HostTable { exact: HashMap::default(), under: HashMap::default(), any: None }
    }
}

impl<T> HostTable<T> {
    /// What stands at the pattern (none: every host), made if it is not there yet.
    pub fn entry(&mut self, pattern: Option<&HostPattern>, make: impl FnOnce() -> T) -> &mut T {
        match pattern {
            Some(HostPattern::Exact(name)) => {
                self.exact.entry(name.as_str().into()).or_insert_with(|| Box::new(make()))
            }
            Some(HostPattern::Under(parent)) => {
                self.under.entry(parent.as_str().into()).or_insert_with(|| Box::new(make()))
            }
            None => self.any.get_or_insert_with(make),
        }
    }

    /// Everything whose pattern covers the host, the most specific first.
    pub fn covering<'t, 'h>(&'t self, host: &'h str) -> impl Iterator<Item = &'t T> + use<'t, 'h, T> {
        let wildcards = if self.under.is_empty() { "" } else { host };
        let parents =
            wildcards.match_indices('.').filter(|(at, _)| *at > 0).map(|(at, _)| &wildcards[at + 1..]);
        self.exact
            .get(host.as_bytes())
            .into_iter()
            .chain(parents.filter_map(|parent| self.under.get(parent.as_bytes())))
            .map(Box::as_ref)
            .chain(self.any.as_ref())
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let named = self.exact.values_mut().chain(self.under.values_mut()).map(Box::as_mut);
        named.chain(self.any.as_mut())
    }
}
