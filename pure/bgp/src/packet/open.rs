//! OPEN and its capabilities (RFC 4271, section 4.2; RFC 5492; RFC 9072 when reading). Checks the
//! form; whether this peer may speak with us is for the session.

use super::{AS_TRANS, Family, MessageKind, Reader, message};
use crate::error::MessageError;
use std::net::Ipv4Addr;

/// What a speaker says of itself before anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The autonomous system, taken from the four-byte capability where there is one. Never 0.
    pub asn: u32,
    /// Proposed hold time in seconds: 0 or at least 3.
    pub hold_secs: u16,
    /// BGP identifier; never 0.0.0.0 once decoded.
    pub router_id: Ipv4Addr,
    /// In the order of the wire.
    pub capabilities: Vec<Capability>,
}

/// What a speaker can do (RFC 5492).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capability {
    /// Code 1, RFC 4760: routes of this family.
    MultiProtocol(Family),
    /// Code 2, RFC 2918.
    RouteRefresh,
    /// Code 64, RFC 4724. Without families: End-of-RIB is sent and understood, nothing more.
    GracefulRestart {
        /// The speaker has just restarted.
        restarting: bool,
        /// How long it takes to come back, 0 to 4095 s.
        restart_secs: u16,
        /// Families, and whether their forwarding was kept.
        families: Vec<(Family, bool)>,
    },
    /// Code 65, RFC 6793: AS numbers of four bytes, and ours.
    FourByteAs(u32),
    /// Any other: kept, shown, otherwise ignored.
    Unknown {
        /// The code.
        code: u8,
        /// Its value, at most 255 bytes.
        value: Vec<u8>,
    },
}

impl Open {
    /// Reads the body of an OPEN.
    ///
    /// # Errors
    /// RFC 4271, section 6.2: version, AS 0, identifier 0, hold time of 1 or 2 s, unknown parameter.
    pub fn decode(body: &[u8]) -> Result<Open, MessageError> {
        let mut reader = Reader::new(body);
        let version = reader.u8().ok_or_else(truncated)?;
        if version != 4 {
            return Err(MessageError::new(2, 1, &[0, 4], format!("BGP version {version} is not 4")));
        }
        let short_as = reader.u16().ok_or_else(truncated)?;
        let hold_secs = reader.u16().ok_or_else(truncated)?;
        let router_id = reader.ipv4().ok_or_else(truncated)?;
        let capabilities = parameters(&mut reader)?;
        let long_as = capabilities.iter().find_map(|capability| match capability {
            Capability::FourByteAs(asn) => Some(*asn),
            _ => None,
        });
        let asn = long_as.unwrap_or(u32::from(short_as));
        if asn == 0 {
            return Err(MessageError::new(2, 2, &[], "AS 0 is reserved"));
        }
        if router_id.is_unspecified() {
            return Err(MessageError::new(2, 3, &[], "the BGP identifier is 0.0.0.0"));
        }
        if matches!(hold_secs, 1 | 2) {
            return Err(MessageError::new(2, 6, &[], format!("a hold time of {hold_secs} s is not allowed")));
        }
        Ok(Open { asn, hold_secs, router_id, capabilities })
    }

    /// The whole message. Each capability gets a parameter of its own, as the oldest peers expect;
    /// those that no longer fit 255 bytes are left out.
    pub fn encode(&self) -> Vec<u8> {
        let short_as = u16::try_from(self.asn).unwrap_or(AS_TRANS);
        let mut parameters = Vec::new();
        for capability in &self.capabilities {
            let (code, value) = capability.code_and_value();
            if parameters.len() + value.len() + 4 <= 255 {
                parameters.extend_from_slice(&[2, value.len() as u8 + 2, code, value.len() as u8]);
                parameters.extend_from_slice(&value);
            }
        }
        let mut body = vec![4];
        body.extend_from_slice(&short_as.to_be_bytes());
        body.extend_from_slice(&self.hold_secs.to_be_bytes());
        body.extend_from_slice(&self.router_id.octets());
        body.push(parameters.len() as u8);
        body.extend_from_slice(&parameters);
        message(MessageKind::Open, &body)
    }

    /// Whether the speaker carries this family. One that names no family at all carries IPv4 unicast
    /// (RFC 4760, section 8).
    pub fn speaks(&self, family: Family) -> bool {
        let mut families = self.capabilities.iter().filter_map(|capability| match capability {
            Capability::MultiProtocol(family) => Some(*family),
            _ => None,
        });
        match families.next() {
            None => family == Family::IPV4_UNICAST,
            Some(first) => first == family || families.any(|other| other == family),
        }
    }

    /// Whether it takes AS numbers of four bytes.
    pub fn four_byte_as(&self) -> bool {
        self.capabilities.iter().any(|capability| matches!(capability, Capability::FourByteAs(_)))
    }

    /// Whether it answers ROUTE-REFRESH.
    pub fn route_refresh(&self) -> bool {
        self.capabilities.contains(&Capability::RouteRefresh)
    }
}

impl Capability {
    fn code_and_value(&self) -> (u8, Vec<u8>) {
        match self {
            Capability::MultiProtocol(family) => {
                let [high, low] = family.afi.to_be_bytes();
                (1, vec![high, low, 0, family.safi])
            }
            Capability::RouteRefresh => (2, Vec::new()),
            Capability::GracefulRestart { restarting, restart_secs, families } => {
                let head = (u16::from(*restarting) << 15) | (restart_secs & 0x0fff);
                let mut value = head.to_be_bytes().to_vec();
                for (family, kept) in families {
                    value.extend_from_slice(&family.afi.to_be_bytes());
                    value.extend_from_slice(&[family.safi, u8::from(*kept) << 7]);
                }
                (64, value)
            }
            Capability::FourByteAs(asn) => (65, asn.to_be_bytes().to_vec()),
            Capability::Unknown { code, value } => (*code, value.clone()),
        }
    }

    fn decode(code: u8, value: &[u8]) -> Result<Capability, MessageError> {
        let mut reader = Reader::new(value);
        let wrong = || MessageError::new(2, 0, &[], format!("capability {code} is malformed"));
        Ok(match (code, value.len()) {
            (1, 4) => {
                let afi = reader.u16().ok_or_else(wrong)?;
                let safi = reader.rest().last().copied().ok_or_else(wrong)?;
                Capability::MultiProtocol(Family { afi, safi })
            }
            (2, 0) => Capability::RouteRefresh,
            (64, 2..) => {
                let head = reader.u16().ok_or_else(wrong)?;
                let mut families = Vec::new();
                while let (Some(afi), Some(safi), Some(flags)) = (reader.u16(), reader.u8(), reader.u8()) {
                    families.push((Family { afi, safi }, flags & 0x80 != 0));
                }
                let (restarting, restart_secs) = (head & 0x8000 != 0, head & 0x0fff);
                Capability::GracefulRestart { restarting, restart_secs, families }
            }
            (65, 4) => Capability::FourByteAs(reader.u32().ok_or_else(wrong)?),
            (1 | 65, _) => return Err(wrong()),
            _ => Capability::Unknown { code, value: value.to_vec() },
        })
    }
}

/// Optional parameters; the only kind left in use is 2, capabilities.
fn parameters(reader: &mut Reader<'_>) -> Result<Vec<Capability>, MessageError> {
    let short = usize::from(reader.u8().ok_or_else(truncated)?);
    // RFC 9072: 255 followed by parameter type 255 announces lengths of two bytes.
    let extended = short == 255 && reader.rest().first() == Some(&255);
    let field = if extended {
        reader.u8().ok_or_else(truncated)?;
        let length = reader.u16().ok_or_else(truncated)?;
        reader.take(usize::from(length)).ok_or_else(truncated)?
    } else {
        reader.take(short).ok_or_else(truncated)?
    };
    if !reader.is_empty() {
        return Err(MessageError::new(2, 0, &[], "bytes follow the optional parameters of an OPEN"));
    }
    let mut field = Reader::new(field);
    let mut capabilities = Vec::new();
    while let Some(kind) = field.u8() {
        let length = if extended { field.u16().map(usize::from) } else { field.u8().map(usize::from) };
        let value = length.and_then(|length| field.take(length)).ok_or_else(truncated)?;
        if kind != 2 {
            return Err(MessageError::new(2, 4, &[], format!("optional parameter {kind} is unknown")));
        }
        let mut list = Reader::new(value);
        while let Some(code) = list.u8() {
            let length = list.u8().ok_or_else(truncated)?;
            let value = list.take(usize::from(length)).ok_or_else(truncated)?;
            capabilities.push(Capability::decode(code, value)?);
        }
    }
    Ok(capabilities)
}

fn truncated() -> MessageError {
    MessageError::new(2, 0, &[], "an OPEN ends before its fields do")
}
