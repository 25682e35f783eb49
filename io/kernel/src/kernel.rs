//! The kernel as two calls: what is there, and do this. No decision is taken here; `tidegate-plan` took them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use netlink_sys::AsyncSocket;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use rtnetlink::Handle;
use tidegate_plan::{Desired, Observed, Op, Plan, SysctlKey, cleanup_plan};
use tokio::task::JoinHandle;

use crate::capability::may_administer;
use crate::error::{ObserveError, OpError, OpenError};
use crate::netlink::Requests;
use crate::sysctl::{self, Sysctls};
use crate::{address, link, nft, route, rule};

/// The network namespace of the thread that opened it.
///
/// Dumps block the thread for as long as the kernel takes (some 10 ms per 10,000 routes or elements); [`crate::Keeper`]
/// gives it a thread of its own.
pub struct Kernel {
    handle: Handle,
    connection: JoinHandle<()>,
    routes: Requests,
    nftables: Requests,
    sysctls: Sysctls,
    rtnetlink_port: u32,
}

impl Kernel {
    /// Opens the sockets and the record of settings in `state_dir`. Changes nothing. Runs in a tokio runtime.
    pub fn open(state_dir: &Path) -> Result<Self, OpenError> {
        if !may_administer() {
            return Err(OpenError::NoNetAdmin);
        }
        let mut nftables = Requests::open(NETLINK_NETFILTER).map_err(OpenError::Socket)?;
        nft::dump::available(&mut nftables).map_err(OpenError::NoNftables)?;
        let routes = Requests::open(NETLINK_ROUTE).map_err(OpenError::Socket)?;
        let sysctls = Sysctls::open(state_dir)
            .map_err(|source| OpenError::Record { path: state_dir.display().to_string(), source })?;
        let (mut connection, handle, _) = rtnetlink::new_connection().map_err(OpenError::Socket)?;
        let own = connection.socket_mut().socket_mut().bind_auto().map_err(OpenError::Socket)?;
        let connection = tokio::spawn(connection);
        Ok(Self { handle, connection, routes, nftables, sysctls, rtnetlink_port: own.port_number() })
    }

    /// Reads the record of settings anew, as a process must that takes over from another.
    pub(crate) fn reread_record(&mut self) -> io::Result<()> {
        self.sysctls.reread()
    }

    /// Reads everything of ours and what stands in its way. `desired` only tells which settings to read.
    pub async fn observe(&mut self, desired: &Desired) -> Result<Observed, ObserveError> {
        let at = |what| move |source| ObserveError { what, source };
        let links = link::dump(&self.handle).await.map_err(at("interfaces"))?;
        let names: BTreeMap<u32, String> =
            links.into_iter().map(|(index, link)| (index, link.name)).collect();
        let mut observed = Observed {
            addresses: address::observe(&self.handle, &names).await.map_err(at("addresses"))?,
            rules: rule::observe(&self.handle).await.map_err(at("rules"))?,
            table: nft::dump::observe(&mut self.nftables).map_err(at("the nftables table"))?,
            recorded: self.sysctls.recorded().clone(),
            ..Observed::default()
        };
        route::observe(&mut self.routes, &names, &mut observed).map_err(at("routes"))?;
        let keys = desired.sysctls.keys().chain(self.sysctls.recorded().keys());
        for key in keys {
            match sysctl::read(key) {
                Ok(value) => drop(observed.sysctls.insert(key.clone(), value)),
                // Only this says that a setting is gone; its record would be forgotten for good.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(at("settings")(error)),
            }
        }
        Ok(observed)
    }

    /// Applies operations in order. One that fails keeps back those that rely on it, and no others.
    pub async fn apply(&mut self, ops: &[Op]) -> Vec<OpError> {
        let (mut errors, mut held_back) = (Vec::new(), Vec::new());
        let mut failed: Vec<&Op> = Vec::new();
        for run in ops.chunk_by(|one, next| one.is_route() && next.is_route()) {
            let held = |op: &&Op| failed.iter().any(|failed| op.relies_on(failed));
            let (held, run): (Vec<&Op>, Vec<&Op>) = run.iter().partition(held);
            held_back.extend(held);
            let refused = match run.as_slice() {
                [only] if !only.is_route() => {
                    self.apply_one(only).await.err().map(|error| (0, error)).into_iter().collect()
                }
                routes => route::apply(&mut self.routes, routes),
            };
            for (at, source) in refused {
                // Nothing relies on a route, and there may be many.
                if !run[at].is_route() {
                    failed.push(run[at]);
                }
                errors.push(OpError::Refused { op: run[at].clone(), source });
            }
        }
        if let Some(first) = held_back.first() {
            errors.push(OpError::HeldBack { first: Op::clone(first), count: held_back.len() });
        }
        errors
    }

    async fn apply_one(&mut self, op: &Op) -> io::Result<()> {
        match op {
            Op::AddressAdd(address) => address::add(&self.handle, address).await,
            Op::AddressDelete(address) => address::delete(&self.handle, address).await,
            Op::RuleAdd(rule) => rule::add(&self.handle, rule).await,
            Op::RuleDelete(rule) => rule::delete(&self.handle, rule).await,
            Op::SysctlSet { key, value } => self.sysctls.set(key, value),
            Op::SysctlRestore(key) => self.sysctls.restore(key),
            Op::SysctlForget(key) => self.sysctls.forget(key),
            Op::TableRebuild(_) | Op::TableChange { .. } | Op::TableDelete => {
                nft::encode::apply(&mut self.nftables, op)
            }
            Op::RouteAdd(..) | Op::RouteReplace(..) | Op::RouteDelete(_) => {
                route::apply(&mut self.routes, &[op]).pop().map_or(Ok(()), |(_, error)| Err(error))
            }
        }
    }

    /// Removes every trace of ours and nothing else. Returns what was done, or with `dry_run` would be, in words.
    pub async fn cleanup(&mut self, dry_run: bool) -> Result<Cleanup, ObserveError> {
        let observed = self.observe(&Desired::default()).await?;
        let Plan { ops, notes } = cleanup_plan(&observed);
        let errors = if dry_run { Vec::new() } else { self.apply(&ops).await };
        Ok(Cleanup {
            done: ops.iter().map(Op::to_string).collect(),
            left: notes.iter().map(ToString::to_string).collect(),
            errors,
        })
    }

    /// Packets that the counters of our table have counted since it was built; empty without a table.
    pub fn counters(&mut self) -> io::Result<BTreeMap<String, u64>> {
        nft::dump::counted(&mut self.nftables)
    }

    /// Netlink ports of our sockets; notifications we cause carry them.
    pub(crate) fn ports(&self) -> [u32; 3] {
        [self.routes.port(), self.nftables.port(), self.rtnetlink_port]
    }

    /// What was recorded of settings, by which a picture of the kernel is kept complete.
    pub(crate) fn recorded(&self) -> BTreeMap<SysctlKey, tidegate_plan::Recorded> {
        self.sysctls.recorded().clone()
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// What a cleanup did.
#[derive(Debug, Default)]
pub struct Cleanup {
    /// The operations, in words.
    pub done: Vec<String>,
    /// What was found changed by others and left alone.
    pub left: Vec<String>,
    /// Operations that failed or were held back.
    pub errors: Vec<OpError>,
}
