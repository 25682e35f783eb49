//! Draining an endpoint by hand: who it is, what is under way to it, and a line in the log.

use tidegate_console::{DrainWish, Drained, DrainedFrom};

use super::Board;

impl Board {
    /// Drains, or takes back, and tells whom that concerns.
    pub(super) fn drain(&self, wish: &DrainWish) -> Result<Drained, String> {
        let DrainWish { endpoint, undo } = *wish;
        let drained = self.0.drain.change(|drained| {
            if undo { drained.undo(endpoint) } else { drained.drain(endpoint) }.map(|()| drained.clone())
        })?;
        let done = if undo { "takes part again" } else { "is drained by hand" };
        tracing::info!(%endpoint, "the endpoint {done}");
        let mut endpoints: Vec<DrainedFrom> = Vec::new();
        // A Service is there once for each of its settings.
        for (service, facts) in self.0.endpoints.facts() {
            let service = service.to_string();
            for facts in facts.iter().filter(|facts| endpoint.covers(facts.address)) {
                let same =
                    |known: &&mut DrainedFrom| known.service == service && known.address == facts.address;
                match endpoints.iter_mut().find(same) {
                    Some(known) => known.under_way = known.under_way.saturating_add(facts.in_flight),
                    None => endpoints.push(DrainedFrom {
                        service: service.clone(),
                        address: facts.address,
                        under_way: facts.in_flight,
                    }),
                }
            }
        }
        Ok(Drained { endpoints, drained })
    }
}
