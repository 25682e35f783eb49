//! Ingresses: what they come to in listeners and rules, as Gateways and routes do.
//!
//! ```text
//!  Ingresses of a class ──► one site for each host ──► a listener each on ports 80 and 443 ──► rules of each Ingress
//!     annotations               paths, certificate         of a Gateway made for the class        canaries beside them
//! ```
//!
//! All Ingresses of a class are served at one place, as if a Gateway stood for the class: by the same addresses, sockets and
//! certificates, beside real Gateways by host name. Each Ingress is read alone; where two want the same, the older one has
//! it and the other is told. What is shared by a host is only who has which path, so that a mistake in one costs no other.

pub mod annotation;
mod class;
mod gateway;
mod path;
mod rules;
mod site;

use std::collections::BTreeMap;

use tidegate_model::Machine;
use tidegate_model::standing::IngressStanding;
use tidegate_objects::gateway::Gateway;
use tidegate_objects::ingress::{Ingress, IngressClass};
use tidegate_objects::{Key, Kind, Resource, Snapshot};

use crate::backend::Backends;
use crate::entrance::Attached;
use crate::gateway::OurGateway;
use crate::report::Report;
use crate::verdicts::Verdicts;

use annotation::Settings;
use class::Classes;
use site::Sites;

/// All Ingresses of ours, by class.
pub(crate) struct Ingresses<'a> {
    classes: Vec<Class<'a>>,
}

/// The Ingresses of a class.
pub(super) struct Class<'a> {
    /// The class, whether there is an object or not.
    name: Key,
    /// The Gateway that stands for it; its key has no namespace, as no real one's has.
    resource: Resource<Gateway>,
    members: Vec<Member<'a>>,
    sites: Sites<'a>,
    /// What each listener of the Gateway is for, in their order.
    listeners: Vec<gateway::Listening<'a>>,
}

/// An Ingress, and what its annotations ask for.
pub(super) struct Member<'a> {
    resource: &'a Resource<Ingress>,
    settings: Settings,
}

impl<'a> Ingresses<'a> {
    /// Reads them all.
    pub fn new(snapshot: &'a Snapshot, machine: &'a Machine, verdicts: &mut Verdicts) -> Self {
        let classes = Classes::new(snapshot, &machine.ingress_class, verdicts);
        let mut by_class: BTreeMap<Key, Vec<&'a Resource<Ingress>>> = BTreeMap::new();
        for ingress in snapshot.ingresses.values() {
            if let Some(class) = classes.of(ingress, verdicts) {
                by_class.entry(class).or_default().push(ingress);
            }
        }
        let classes = by_class.into_iter().map(|(name, mut ingresses)| {
            ingresses.sort_by_key(|ingress| ingress.metadata.precedence());
            let members: Vec<Member<'a>> =
                ingresses.into_iter().map(|one| Member::read(one, verdicts)).collect();
            let sites = Sites::new(&members, verdicts);
            let class = snapshot.ingress_classes.get(&name).map(|class| &**class);
            let (resource, listeners) = gateway::made(&name, class, &members, &sites, verdicts);
            Class { name, resource, members, sites, listeners }
        });
        Ingresses { classes: classes.collect() }
    }

    /// Adds the Gateways that stand for classes.
    pub fn join<'p>(&'p self, gateways: &mut Vec<OurGateway<'p>>) {
        gateways.extend(self.classes.iter().map(Class::gateway));
        gateways.sort_by_key(|gateway| gateway.resource.metadata.precedence());
    }

    /// Attaches the rules of all Ingresses to their listeners, says of those that are served nowhere why, and writes down where
    /// each is served.
    pub fn attach(
        &self,
        gateways: &[OurGateway<'_>],
        backends: &mut Backends<'_>,
        attached: &mut Attached,
        verdicts: &mut Verdicts,
    ) -> BTreeMap<Key, IngressStanding> {
        let mut standing = BTreeMap::new();
        for class in &self.classes {
            let place = gateways.iter().position(|gateway| gateway.resource.key() == class.resource.key());
            let Some((number, gateway)) = place.and_then(|number| Some((number, gateways.get(number)?)))
            else {
                continue;
            };
            class.note_unserved(gateway, verdicts);
            rules::attach(class, (number, gateway), backends, attached, verdicts);
            standing.extend(class.standing(gateway));
        }
        standing
    }
}

/// The Ingresses of our classes; `nginx_class` is the class of ingress-nginx that is served too, empty: none.
pub(crate) fn served<'a>(
    snapshot: &'a Snapshot,
    nginx_class: &'a str,
) -> impl Iterator<Item = &'a Resource<Ingress>> {
    // What there is to say is said by compile.
    let mut unheard = Verdicts::new(&Snapshot::default());
    let classes = Classes::new(snapshot, nginx_class, &mut unheard);
    let all = snapshot.ingresses.values().map(|ingress| &**ingress);
    all.filter(move |ingress| classes.of(ingress, &mut unheard).is_some())
}

impl<'a> Member<'a> {
    fn read(resource: &'a Resource<Ingress>, verdicts: &mut Verdicts) -> Member<'a> {
        let mut report = Report::new(Kind::Ingress, resource.key(), "", verdicts);
        let settings = annotation::read(&resource.metadata.annotations, &mut report);
        Member { resource, settings }
    }

    fn key(&self) -> &'a Key {
        self.resource.key()
    }

    /// Something in it takes no part.
    fn part(&self, reason: &'static str, field: impl Into<String>, message: String, verdicts: &mut Verdicts) {
        verdicts.part(Kind::Ingress, self.key(), reason, field, message);
    }
}

/// The pool or addresses that a class asks for are in its annotations; nothing else of it is looked at.
type Object<'a> = Option<&'a Resource<IngressClass>>;
