//! As much of DER as it takes to find when an X.509 certificate begins and ends (RFC 5280 section 4.1).
//!
//! The rest of a certificate is read by webpki, which does not tell its dates.

/// When a certificate is valid, in seconds since 1970, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub not_before_secs: i64,
    pub not_after_secs: i64,
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When this certificate is valid; nothing if it is no certificate.
pub(crate) fn validity(certificate: &[u8]) -> Option<Validity> {
    let mut outer = certificate;
    let mut certificate = expect(&mut outer, SEQUENCE)?;
    let mut fields = expect(&mut certificate, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        expect(&mut fields, VERSION)?;
    }
    expect(&mut fields, INTEGER)?;
    let _signature = expect(&mut fields, SEQUENCE)?;
    let _issuer = expect(&mut fields, SEQUENCE)?;
    let mut validity = expect(&mut fields, SEQUENCE)?;
    Some(Validity { not_before_secs: time(&mut validity)?, not_after_secs: time(&mut validity)? })
}

fn expect<'b>(bytes: &mut &'b [u8], tag: u8) -> Option<&'b [u8]> {
    element(bytes).filter(|&(found, _)| found == tag).map(|(_, content)| content)
}

/// The next element: its tag and content. Lengths of up to four bytes.
fn element<'b>(bytes: &mut &'b [u8]) -> Option<(u8, &'b [u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some((tag, content))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5).
fn time(bytes: &mut &[u8]) -> Option<i64> {
    let (tag, text) = element(bytes)?;
    let (year_digits, rest) = match tag {
        UTC_TIME => text.split_at_checked(2)?,
        GENERALIZED_TIME => text.split_at_checked(4)?,
        _ => return None,
    };
    let mut year = number(year_digits)?;
    if tag == UTC_TIME {
        year += if year >= 50 { 1900 } else { 2000 };
    }
    let digits = rest.strip_suffix(b"Z").filter(|digits| digits.len() == 10)?;
    let mut pairs = digits.chunks(2).map(number);
    let mut next = |low: i64, high: i64| pairs.next()?.filter(|number| (low..=high).contains(number));
    let (month, day) = (next(1, 12)?, next(1, 31)?);
    let (hour, minute, second) = (next(0, 23)?, next(0, 59)?, next(0, 60)?);
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits
        .iter()
        .try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar: years that begin in March have their leap day at the end.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Authority;

    /// Both forms of a time are the second they name.
    #[test]
    fn times() {
        for (tag, text, secs) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000)),
            (GENERALIZED_TIME, "20240229120000Z", Some(1_709_208_000)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (GENERALIZED_TIME, "20241301000000Z", None),
            (GENERALIZED_TIME, "20240101000000+", None),
            (UTC_TIME, "7001010000Z", None),
            (INTEGER, "700101000000Z", None),
        ] {
            let bytes = [&[tag, text.len() as u8], text.as_bytes()].concat();
            assert_eq!(time(&mut bytes.as_slice()), secs, "{text}");
        }
    }

    /// A real certificate's dates are found.
    #[test]
    fn dates_of_a_certificate() {
        let leaf = Authority::new("ca").dated(&["a.example"], (2020, 2024)).der;
        let validity = validity(&leaf).unwrap();
        assert_eq!((validity.not_before_secs, validity.not_after_secs), (1_577_836_800, 1_704_067_200));
    }

    proptest! {
        /// No bytes, and no certificate with a part replaced, make it panic.
        #[test]
        fn never_panics(noise in prop::collection::vec(any::<u8>(), 0..80), at in 0usize..300) {
            let _ = validity(&noise);
            let mut leaf = Authority::new("ca").leaf(&["a.example"]).der;
            let end = (at + noise.len()).min(leaf.len());
            let at = at.min(end);
            leaf[at..end].copy_from_slice(&noise[..end - at]);
            let _ = validity(&leaf);
        }
    }
}
