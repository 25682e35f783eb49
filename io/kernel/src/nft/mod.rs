//! nftables over netlink, without nft(8) or libnftables: our table is written by `encode` and read back by `dump`.

pub(crate) mod dump;
pub(crate) mod encode;

/// `NFPROTO_INET`.
const INET: u8 = 1;
/// The subsystem in the upper byte of a message type.
const SUBSYSTEM: u16 = 10 << 8;

const NEWTABLE: u16 = SUBSYSTEM;
const GETTABLE: u16 = SUBSYSTEM | 1;
const DELTABLE: u16 = SUBSYSTEM | 2;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const GETCHAIN: u16 = SUBSYSTEM | 4;
const NEWRULE: u16 = SUBSYSTEM | 6;
const GETRULE: u16 = SUBSYSTEM | 7;
const NEWSET: u16 = SUBSYSTEM | 9;
const GETSET: u16 = SUBSYSTEM | 10;
const NEWSETELEM: u16 = SUBSYSTEM | 12;
const GETSETELEM: u16 = SUBSYSTEM | 13;
const DELSETELEM: u16 = SUBSYSTEM | 14;
const NEWOBJ: u16 = SUBSYSTEM | 18;
const GETOBJ: u16 = SUBSYSTEM | 19;

/// An entry of a list (`NFTA_LIST_ELEM`).
const ITEM: u16 = 1;
/// The table an object belongs to; attribute 1 of every kind of message but the table's own, where it is its name.
const TABLE_NAME: u16 = 1;
/// `NFT_OBJECT_COUNTER`.
const OBJECT_COUNTER: u32 = 1;
/// This element is where a range of an interval set ends, and not in it.
const INTERVAL_END: u32 = 1;

/// `struct nfgenmsg`.
fn fixed(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

/// The table a notification is about, if it names one.
pub(crate) fn table_of(payload: &[u8]) -> Option<String> {
    let (_, rest) = payload.split_at_checked(4)?;
    crate::netlink::attributes(rest)
        .find(|(kind, _)| *kind == TABLE_NAME)
        .map(|(_, name)| crate::netlink::string(name))
}
