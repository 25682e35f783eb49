//! Addresses through the rtnetlink crate: dump, add with our tag, delete.

use std::collections::BTreeMap;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use nix::net::if_::if_nametoindex;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol};
use rtnetlink::{AddressMessageBuilder, Handle};
use std::io;
use tidegate_plan::{Address, OURS};

use crate::error::to_io;

/// Every address with its protocol number; `names` maps interface indices.
pub(crate) async fn observe(
    handle: &Handle,
    names: &BTreeMap<u32, String>,
) -> io::Result<BTreeMap<Address, u8>> {
    let mut found = BTreeMap::new();
    let mut dump = std::pin::pin!(handle.address().get().execute());
    while let Some(message) = dump.try_next().await.map_err(to_io)? {
        let (Some(interface), Some(net)) = (names.get(&message.header.index), net(&message)) else {
            continue;
        };
        let protocol = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Protocol(protocol) => Some(u8::from(*protocol)),
            _ => None,
        });
        found.insert(Address { interface: interface.clone(), net }, protocol.unwrap_or(0));
    }
    Ok(found)
}

/// The address of the host itself: `Local` where there is one (IPv4, and tunnels), else `Address`.
pub(crate) fn net(message: &AddressMessage) -> Option<IpNet> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    IpNet::new(address, message.header.prefix_len).ok()
}

/// Adds an address with our tag. IPv6 ones skip duplicate address detection, which would cost a second.
pub(crate) async fn add(handle: &Handle, address: &Address) -> io::Result<()> {
    let mut request = handle.address().add(index(address)?, address.net.addr(), address.net.prefix_len());
    let message = request.message_mut();
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(OURS)));
    if message.header.family == AddressFamily::Inet6 {
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    request.execute().await.map_err(to_io)
}

/// Deletes an address.
pub(crate) async fn delete(handle: &Handle, address: &Address) -> io::Result<()> {
    let (index, len) = (index(address)?, address.net.prefix_len());
    let message = match address.net.addr() {
        IpAddr::V4(v4) => {
            AddressMessageBuilder::<std::net::Ipv4Addr>::new().index(index).address(v4, len).build()
        }
        IpAddr::V6(v6) => {
            AddressMessageBuilder::<std::net::Ipv6Addr>::new().index(index).address(v6, len).build()
        }
    };
    handle.address().del(message).execute().await.map_err(to_io)
}

fn index(address: &Address) -> io::Result<u32> {
    if_nametoindex(address.interface.as_str()).map_err(|_| {
        io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {}", address.interface))
    })
}
