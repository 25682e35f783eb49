//! `sessionPersistence` of a rule (GEP-1619).

use tidegate_model::traffic::{
    CookieAttributes, PathMatch, RequestMatch, SessionCarrier, SessionPersistence,
};
use tidegate_objects::route::{CookieLifetime, SessionPersistence as Spec, SessionType};
use tidegate_objects::{Key, Kind};

use super::is_token;
use crate::duration;
use crate::filter::changeable;
use crate::report::Report;

/// The longest name of a session.
const NAME_BYTES_MAX: usize = 128;

/// Which rule it is, for a name of its own.
pub(super) struct Id<'r> {
    pub kind: Kind,
    pub route: &'r Key,
    pub index: usize,
    pub rule: Option<&'r str>,
}

impl Id<'_> {
    /// A name that no other rule has, so that two rules of one host do not overwrite each other's sessions; the same on
    /// every gateway.
    fn name(&self) -> String {
        let place = self.rule.map_or_else(|| self.index.to_string(), str::to_owned);
        let text = format!("{} {} {place}", self.kind, self.route);
        // FNV-1a with 64 bits (draft-eastlake-fnv).
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("tidegate-session-{hash:016x}")
    }
}

/// Reads it; none, and a sentence, if it cannot be kept as written.
pub(super) fn read(
    asked: &Spec,
    id: &Id<'_>,
    matches: &[RequestMatch],
    report: &mut Report<'_>,
) -> Option<SessionPersistence> {
    let mut report = report.at("sessionPersistence");
    let read = || {
        let name = asked.session_name.as_deref().filter(|name| !name.is_empty());
        let name = name.map_or_else(|| Ok(id.name()), |name| given_name(name, asked.session_type))?;
        let absolute_timeout = time("absoluteTimeout", &asked.absolute_timeout)?;
        let idle_timeout = time("idleTimeout", &asked.idle_timeout)?;
        let lifetime = asked.cookie_config.as_ref().map(|cookie| cookie.lifetime_type);
        let carrier = match (asked.session_type, lifetime) {
            (SessionType::Cookie, Some(CookieLifetime::Permanent)) if absolute_timeout.is_none() => {
                return Err(("absoluteTimeout", "a permanent cookie needs it".to_owned()));
            }
            (SessionType::Cookie, lifetime) => SessionCarrier::Cookie {
                path: cookie_path(matches),
                permanent: lifetime == Some(CookieLifetime::Permanent),
                attributes: CookieAttributes::default(),
            },
            (SessionType::Header, None) => SessionCarrier::Header,
            (SessionType::Header, Some(_)) => {
                return Err(("cookieConfig", "type Header has no cookie".to_owned()));
            }
        };
        Ok(SessionPersistence { name, carrier, absolute_timeout, idle_timeout })
    };
    let read: Result<_, (&str, String)> = read();
    read.map_err(|(field, why)| {
        let message = format!("{why}; requests of one client may go to different endpoints");
        report.part("UnsupportedValue", field, message);
    })
    .ok()
}

fn given_name(name: &str, carrier: SessionType) -> Result<String, (&'static str, String)> {
    let bad = |why| Err(("sessionName", why));
    if name.len() > NAME_BYTES_MAX {
        return bad(format!("{name:?} is longer than {NAME_BYTES_MAX} characters"));
    }
    match carrier {
        SessionType::Cookie if is_token(name) => Ok(name.to_owned()),
        SessionType::Cookie => bad(format!("{name:?} is no cookie name")),
        SessionType::Header => changeable(name).or_else(bad),
    }
}

fn time(
    field: &'static str,
    text: &Option<String>,
) -> Result<Option<std::time::Duration>, (&'static str, String)> {
    text.as_deref().map(duration::above_zero).transpose().map_err(|why| (field, why))
}

/// The path that all matches have in common, in whole segments; `/` where one of them is a regular expression.
fn cookie_path(matches: &[RequestMatch]) -> String {
    let paths = matches.iter().map(|one| match &one.path {
        PathMatch::Exact(path) | PathMatch::Prefix(path) => path.as_str(),
        PathMatch::Regex(_) | PathMatch::Second(_) => "",
    });
    let mut common: Option<Vec<&str>> = None;
    for path in paths {
        let segments: Vec<&str> = path.split('/').collect();
        let before = common.unwrap_or_else(|| segments.clone());
        let same = before.iter().zip(&segments).take_while(|(a, b)| a == b).count();
        common = Some(before[..same].to_vec());
    }
    let path = common.unwrap_or_default().join("/");
    if path.is_empty() { "/".to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session's cookie goes wherever the rule matches, and no further than the paths have in common.
    #[test]
    fn cookie_paths() {
        let one = |path| RequestMatch { path, method: None, headers: Vec::new(), query: Vec::new() };
        let prefix = |path: &str| one(PathMatch::Prefix(path.into()));
        let exact = |path: &str| one(PathMatch::Exact(path.into()));
        for (matches, expected) in [
            (vec![prefix("")], "/"),
            (vec![prefix("/shop")], "/shop"),
            (vec![exact("/shop/cart")], "/shop/cart"),
            (vec![prefix("/shop/a"), exact("/shop/b")], "/shop"),
            (vec![prefix("/shop"), prefix("/shopping")], "/"),
            (vec![prefix("/shop"), prefix("")], "/"),
            (vec![one(PathMatch::Regex("/shop/.*".into()))], "/"),
            (vec![prefix("/shop"), one(PathMatch::Regex("/shop/.*".into()))], "/"),
            (vec![exact("/")], "/"),
        ] {
            assert_eq!(cookie_path(&matches), expected, "{matches:?}");
        }
    }
}
