//! Interfaces: what they are called, what addresses they have, what routes of others lead there; and word of every
//! change.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::Handle;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::error::to_io;
use crate::monitor::{Monitor, group};
use crate::{address, route};

/// From a change to the look at what it did; changes come in flocks.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// From a look that failed to the next one.
const RETRY: Duration = Duration::from_secs(1);

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The loopback interface.
    pub loopback: bool,
    /// Its addresses with prefix length, in the kernel's order: the first of a subnet is the primary.
    pub addresses: Vec<IpNet>,
}

/// All interfaces, by index. Needs no privilege.
pub(crate) async fn dump(handle: &Handle) -> io::Result<BTreeMap<u32, Link>> {
    let mut links = BTreeMap::new();
    let mut messages = std::pin::pin!(handle.link().get().execute());
    while let Some(message) = messages.try_next().await.map_err(to_io)? {
        let link = decode(&message);
        links.insert(link.index, link);
    }
    let mut messages = std::pin::pin!(handle.address().get().execute());
    while let Some(message) = messages.try_next().await.map_err(to_io)? {
        if let (Some(link), Some(net)) = (links.get_mut(&message.header.index), address::net(&message)) {
            link.addresses.push(net);
        }
    }
    Ok(links)
}

fn decode(message: &LinkMessage) -> Link {
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    Link {
        index: message.header.index,
        name: name.unwrap_or_default(),
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        addresses: Vec::new(),
    }
}

/// Interfaces as they are now.
async fn links() -> io::Result<Vec<Link>> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let task = tokio::spawn(connection);
    let found = dump(&handle).await;
    task.abort();
    Ok(found?.into_values().collect())
}

/// What a machine looks like to who decides where addresses belong: its interfaces, and the routes of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Interfaces in order of index.
    pub links: Vec<Link>,
    /// IPv4 routes of the main table that others made, each with its interface.
    pub routes: Vec<(IpNet, String)>,
}

impl Surroundings {
    /// Looks. Needs no privilege; runs in a tokio runtime.
    pub async fn look() -> io::Result<Self> {
        let links = links().await?;
        // The dump of the routes blocks its thread: some 10 ms per 10,000.
        let looking = tokio::task::spawn_blocking(move || {
            let routes = route::foreign_routes(&links)?;
            Ok(Self { links, routes })
        });
        looking.await.map_err(io::Error::other)?
    }

    /// Looks, and again after every change of a link, an address or a route of others. Our own routes wake nobody.
    ///
    /// The task that looks ends when the last receiver is gone, and may be aborted at any time.
    pub async fn watch() -> io::Result<watch::Receiver<Arc<Self>>> {
        let groups = group::LINK | group::IPV4_ADDRESS | group::IPV6_ADDRESS | group::IPV4_ROUTE;
        let monitor = Monitor::open(groups, 0)?;
        let (sender, surroundings) = watch::channel(Arc::new(Self::look().await?));
        tokio::spawn(keep_looking(monitor, sender));
        Ok(surroundings)
    }
}

async fn keep_looking(mut monitor: Monitor, sender: watch::Sender<Arc<Surroundings>>) {
    let mut look_at: Option<Instant> = None;
    // However long a look takes, at most half of the time is spent looking.
    let mut rest_until = Instant::now();
    loop {
        let due = async {
            match look_at {
                Some(at) => sleep_until(at.max(rest_until)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sender.closed() => return,
            seen = monitor.changed(&|notice| !notice.is_own_route()) => {
                if let Err(error) = seen {
                    tracing::error!(%error, "interfaces are no longer watched");
                    return;
                }
                let soon = Instant::now() + DEBOUNCE;
                look_at = Some(look_at.map_or(soon, |at| at.min(soon)));
                continue;
            }
            () = due => {}
        }
        let start = Instant::now();
        look_at = match Surroundings::look().await {
            Ok(now) => {
                tell(&sender, now);
                None
            }
            Err(error) => {
                tracing::warn!(%error, "cannot read the interfaces; trying again in a second");
                Some(Instant::now() + RETRY)
            }
        };
        rest_until = Instant::now() + start.elapsed();
    }
}

/// Wakes the receivers only if something differs.
fn tell(sender: &watch::Sender<Arc<Surroundings>>, now: Surroundings) {
    sender.send_if_modified(|last| {
        let differs = **last != now;
        if differs {
            *last = Arc::new(now);
        }
        differs
    });
}
