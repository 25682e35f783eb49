//! Durations as Go writes them: `100ms`, `1m30s`, `1.5h`, `0`.

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
