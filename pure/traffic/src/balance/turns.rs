//! Whose turn it is: round robin, smooth under weights.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::hash::further;

/// Turns over the places of a list.
#[derive(Debug)]
pub enum Turns {
    /// One after the other.
    Plain {
        /// Next place.
        next: usize,
        /// Places.
        count: usize,
    },
    /// The place with the earliest deadline; a turn moves its deadline by the inverse of its weight. Costs the logarithm
    /// of the number of places.
    Weighted {
        /// Deadlines as bits (floats that are not negative sort like their bits), and places.
        deadlines: BinaryHeap<Reverse<(u64, u32)>>,
        /// Between two turns of a place.
        strides: Vec<f64>,
    },
}

impl Turns {
    /// Turns by these weights, each above 0. Where they begin depends on `random`: or all workers would begin with the
    /// same place, and after every change the heavy ones would come first.
    pub fn new(weights: &[f64], random: u64) -> Turns {
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            let count = weights.len();
            return Turns::Plain { next: random as usize % count.max(1), count };
        }
        let heaviest = weights.iter().copied().fold(0.0, f64::max);
        let strides: Vec<f64> = weights.iter().map(|weight| heaviest / weight).collect();
        let first = |(stride, place): (&f64, u32)| {
            let fraction = (further(random, u64::from(place)) >> 11) as f64 / (1u64 << 53) as f64;
            Reverse(((stride * fraction).to_bits(), place))
        };
        Turns::Weighted { deadlines: strides.iter().zip(0..).map(first).collect(), strides }
    }

    /// The place whose turn it is; none if there is no place.
    pub fn next(&mut self) -> Option<usize> {
        match self {
            Turns::Plain { count: 0, .. } => None,
            Turns::Plain { next, count } => {
                let place = *next;
                *next = if place + 1 >= *count { 0 } else { place + 1 };
                Some(place)
            }
            Turns::Weighted { deadlines, strides } => {
                let mut top = deadlines.peek_mut()?;
                let Reverse((deadline, place)) = *top;
                let place_index = place as usize;
                *top = Reverse(((f64::from_bits(deadline) + strides[place_index]).to_bits(), place));
                Some(place_index)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In every stretch of turns each place had its share, to within two turns: it is smooth, not only fair at last.
    #[test]
    fn smooth() {
        let weights = [5.0, 1.0, 1.0, 3.0];
        for random in 0..20 {
            let mut turns = Turns::new(&weights, random);
            let mut counts = [0f64; 4];
            for turn in 1..=1000 {
                counts[turns.next().unwrap()] += 1.0;
                for (count, weight) in counts.iter().zip(weights) {
                    let fair = f64::from(turn) * weight / 10.0;
                    assert!((count - fair).abs() <= 2.0, "{counts:?} after {turn}");
                }
            }
        }
    }

    /// Equal weights visit all before any twice, from a place that the random number says.
    #[test]
    fn plain() {
        let mut turns = Turns::new(&[2.0, 2.0, 2.0], 1);
        let visited: Vec<_> = (0..6).filter_map(|_| turns.next()).collect();
        assert_eq!(visited, [1, 2, 0, 1, 2, 0]);
        assert_eq!(Turns::new(&[], 5).next(), None);
    }

    /// The first turn after a rebuild follows the weights: a list that changes all the time stays fair.
    #[test]
    fn fair_from_the_start() {
        let heavy = (0..10_000).filter(|&n| Turns::new(&[9.0, 1.0], further(3, n)).next() == Some(0)).count();
        assert!((9_300..9_600).contains(&heavy), "{heavy}: 1 - 1/18 of 10000 is expected");
    }
}
