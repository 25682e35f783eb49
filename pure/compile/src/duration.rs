//! Durations: as Go writes them (`100ms`, `1m30s`, `1.5h`, `0`), and the part of that which Gateway API allows (GEP-2257).

use std::time::Duration;

/// Reads a duration; signs are refused. None when it is not one, or beyond ten years.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        nanos += number.parse::<f64>().ok()? * nanos_per(unit)?;
        rest = tail;
    }
    let ten_years = 3.2e17;
    // Whole nanoseconds in that range are exact enough in 53 bits for every duration that people write.
    (!text.is_empty() && nanos <= ten_years).then(|| Duration::from_nanos(nanos.round() as u64))
}

/// Reads a duration of Gateway API (GEP-2257): one to four whole numbers of at most five digits, each with `h`, `m`, `s`
/// or `ms`. The sentence says what is wrong.
pub fn gep2257(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no duration; write it as 500ms, 10s or 1m30s");
    let (mut rest, mut parts, mut total) = (text, 0, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let millis = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return Err(bad()),
        };
        if !(1..=5).contains(&number.len()) {
            return Err(bad());
        }
        total += Duration::from_millis(number.parse::<u64>().map_err(|_| bad())? * millis);
        (rest, parts) = (tail, parts + 1);
    }
    if (1..=4).contains(&parts) { Ok(total) } else { Err(bad()) }
}

/// A duration that must not be zero.
pub(crate) fn above_zero(text: &str) -> Result<Duration, String> {
    match gep2257(text)? {
        Duration::ZERO => Err(format!("{text:?} is no time at all; it must be above 0")),
        time => Ok(time),
    }
}

fn nanos_per(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3_600e9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What GEP-2257 allows is read, and nothing more.
    #[test]
    fn gateway_api_spellings() {
        for (text, millis) in [
            ("0s", Some(0)),
            ("500ms", Some(500)),
            ("1m30s", Some(90_000)),
            ("1h1m1s1ms", Some(3_661_001)),
            ("99999h", Some(359_996_400_000)),
            ("", None),
            ("0", None),
            ("1.5s", None),
            ("100000s", None),
            ("1h1m1s1ms1ms", None),
            ("-1s", None),
            ("s", None),
            ("10", None),
            ("1us", None),
            ("1d", None),
        ] {
            assert_eq!(gep2257(text).ok(), millis.map(Duration::from_millis), "{text}");
        }
        assert!(above_zero("0h0s").is_err() && above_zero("1ms").is_ok());
    }

    /// Go's spellings are read; anything else, signs included, is refused.
    #[test]
    fn spellings() {
        for (text, millis) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("100ms", Some(100)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1_500)),
            ("2h", Some(7_200_000)),
            ("", None),
            ("90", None),
            ("s", None),
            ("-1s", None),
            ("1 s", None),
            ("1d", None),
            ("1.2.3s", None),
            ("99999999h", None),
        ] {
            assert_eq!(parse(text), millis.map(Duration::from_millis), "{text}");
        }
    }
}
