//! Interfaces: what they are called, whether they carry, what addresses they have; and word of every change.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::Handle;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use tokio::sync::watch;

use crate::error::to_io;
use crate::monitor::{Monitor, group};
use crate::{address, route};

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address; none if it has none of six bytes.
    pub mac: Option<[u8; 6]>,
    /// Set up by the administrator.
    pub up: bool,
    /// Up, and the other side is there.
    pub carrier: bool,
    /// The loopback interface.
    pub loopback: bool,
    /// Bytes of an IP packet it carries.
    pub mtu_bytes: u32,
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
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp) && flags.contains(LinkFlags::Up),
        loopback: flags.contains(LinkFlags::Loopback),
        mtu_bytes: 0,
        addresses: Vec::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(bytes) => link.mtu_bytes = *bytes,
            LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().ok(),
            _ => {}
        }
    }
    link
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
        let routes = route::foreign_routes(&links)?;
        Ok(Self { links, routes })
    }

    /// Looks, and again at every change of a link, an address or a route of others. Our own routes wake nobody.
    ///
    /// The task that looks ends when the last receiver is gone, and may be aborted at any time.
    pub async fn watch() -> io::Result<watch::Receiver<Arc<Self>>> {
        let groups = group::LINK | group::IPV4_ADDRESS | group::IPV6_ADDRESS | group::IPV4_ROUTE;
        let mut monitor = Monitor::open(groups, 0)?;
        let (sender, surroundings) = watch::channel(Arc::new(Self::look().await?));
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    seen = monitor.changed(&|notice| !notice.is_own_route()) => {
                        if let Err(error) = seen {
                            tracing::error!(%error, "interfaces are no longer watched");
                            return;
                        }
                    }
                }
                match Self::look().await {
                    Ok(now) => {
                        sender.send_if_modified(|last| {
                            let differs = **last != now;
                            if differs {
                                *last = Arc::new(now);
                            }
                            differs
                        });
                    }
                    Err(error) => tracing::warn!(%error, "cannot read the interfaces"),
                }
            }
        });
        Ok(surroundings)
    }
}
