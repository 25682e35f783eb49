//! Expressions of an nftables rule, as data. Each is one instruction of the kernel's small machine; registers hold 4 bytes.
//!
//! The set is what the skeleton uses; `io/kernel` encodes them and nobody decodes them: a rule is recognised by its tag.

/// A 4-byte register, 0..=15 (`NFT_REG32_00` onwards). Longer values continue in the next ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reg(pub u8);

/// One instruction. It ends the rule without effect ("break") when what it loads is absent or a comparison fails.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expr {
    /// Load `len` bytes of the packet.
    Payload {
        /// Where `offset` counts from.
        base: Base,
        /// Bytes from the base.
        offset: u32,
        /// Bytes to load.
        len: u32,
        /// Destination.
        dreg: Reg,
    },
    /// Load a fact about the packet.
    Meta {
        /// Which fact.
        key: MetaKey,
        /// Destination.
        dreg: Reg,
    },
    /// Load a fact about the packet's connection.
    Ct {
        /// Which fact.
        key: CtKey,
        /// Destination.
        dreg: Reg,
    },
    /// Give the packet the mark in a register.
    SetMark {
        /// The mark.
        sreg: Reg,
    },
    /// Load the transparent flag (0 or 1) of the socket that would receive the packet; breaks if there is no socket.
    SocketTransparent {
        /// Destination.
        dreg: Reg,
    },
    /// Compare a register with a constant, in packet byte order.
    Cmp {
        /// What to compare.
        sreg: Reg,
        /// How.
        op: CmpOp,
        /// With what.
        value: Vec<u8>,
    },
    /// `reg = reg & mask`.
    Mask {
        /// Source and destination.
        reg: Reg,
        /// The mask, in the byte order of the register.
        mask: Vec<u8>,
    },
    /// `reg = reg | bits`.
    SetBits {
        /// Source and destination.
        reg: Reg,
        /// The bits, in the byte order of the register.
        bits: Vec<u8>,
    },
    /// Look a key up; breaks if it is absent. With `dreg` the set is a map and its value is loaded.
    Lookup {
        /// Name of the set or map.
        set: &'static str,
        /// First register of the key.
        sreg: Reg,
        /// Destination of a map's value.
        dreg: Option<Reg>,
        /// Break if the key is present instead.
        invert: bool,
    },
    /// Count the packet in a named counter.
    Counter(&'static str),
    /// Source translation of a new connection to the IPv4 address in `address`, port kept if it is free.
    SourceNat {
        /// Register that holds the address.
        address: Reg,
    },
    /// End the rule with a verdict.
    Verdict(Verdict),
}

/// Where a payload offset counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Base {
    /// The IP header.
    Network,
    /// The TCP, UDP or other header after it.
    Transport,
}

/// Facts about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetaKey {
    /// Protocol family, one byte: 2 is IPv4.
    NfProto,
    /// Transport protocol, one byte.
    L4Proto,
    /// The packet mark, in host byte order.
    Mark,
}

/// Facts about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CtKey {
    /// State bits, in host byte order. Never breaks.
    State,
    /// One byte: 0 original, 1 reply. Breaks if the packet has no connection.
    Direction,
}

/// Comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CmpOp {
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
    /// Less or equal.
    Lte,
}

/// How a rule ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The packet is gone, whatever other tables say.
    Drop,
    /// Leave this chain; a base chain falls to its policy.
    Return,
    /// Go on in another chain of the table, and come back.
    Jump(&'static str),
}
