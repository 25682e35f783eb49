//! Something for each host pattern, found in order of specificity: the exact name, longer wildcards, shorter ones, all.

use std::collections::HashMap;

use tidegate_model::traffic::HostPattern;

use crate::hash::Quick;

#[derive(Debug)]
pub(crate) struct HostTable<T> {
    exact: HashMap<String, T, Quick>,
    under: HashMap<String, T, Quick>,
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
            Some(HostPattern::Exact(name)) => self.exact.entry(name.clone()).or_insert_with(make),
            Some(HostPattern::Under(parent)) => self.under.entry(parent.clone()).or_insert_with(make),
            None => self.any.get_or_insert_with(make),
        }
    }

    /// Everything whose pattern covers the host, the most specific first.
    pub fn covering<'t, 'h>(&'t self, host: &'h str) -> impl Iterator<Item = &'t T> + use<'t, 'h, T> {
        let wildcards = if self.under.is_empty() { "" } else { host };
        let parents =
            wildcards.match_indices('.').filter(|(at, _)| *at > 0).map(|(at, _)| &wildcards[at + 1..]);
        self.exact
            .get(host)
            .into_iter()
            .chain(parents.filter_map(|parent| self.under.get(parent)))
            .chain(self.any.as_ref())
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.exact.values_mut().chain(self.under.values_mut()).chain(self.any.as_mut())
    }
}
