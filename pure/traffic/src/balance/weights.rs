//! Shares of places in a list, and draws by them.

/// Weights of the places of a list.
#[derive(Debug)]
pub enum Weights {
    /// So many, all alike.
    Equal(u32),
    /// Sums of the weights up to and including each place.
    Sums(Vec<f64>),
}

impl Weights {
    /// These weights; each is above 0.
    pub fn new(weights: &[f64]) -> Weights {
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return Weights::Equal(u32::try_from(weights.len()).unwrap_or(u32::MAX));
        }
        let sums = weights.iter().scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Weights::Sums(sums.collect())
    }

    /// The weight of a place; 1 where all are alike.
    pub fn of(&self, place: usize) -> f64 {
        match self {
            Weights::Equal(_) => 1.0,
            Weights::Sums(sums) => sums[place] - self.below(place),
        }
    }

    /// The place on which `random` falls. There must be one.
    pub fn one(&self, random: u64) -> usize {
        match self {
            Weights::Equal(count) => scaled((random >> 32) as u32, *count),
            Weights::Sums(sums) => at(sums, fraction((random >> 32) as u32) * sums[sums.len() - 1]),
        }
    }

    /// Two different places, drawn one after the other without putting back; the same twice if there is only one.
    pub fn two(&self, random: u64) -> (usize, usize) {
        let first = self.one(random);
        let low = random as u32;
        let second = match self {
            Weights::Equal(0 | 1) => first,
            Weights::Equal(count) => {
                let second = scaled(low, count - 1);
                second + usize::from(second >= first)
            }
            Weights::Sums(sums) => {
                let (below, own) = (self.below(first), self.of(first));
                let point = fraction(low) * (sums[sums.len() - 1] - own);
                let second = at(sums, if point < below { point } else { point + own });
                // Rounding may fall back on the first, at its edge.
                if second == first { (first + 1) % sums.len() } else { second }
            }
        };
        (first, second)
    }

    fn below(&self, place: usize) -> f64 {
        match self {
            Weights::Sums(sums) if place > 0 => sums[place - 1],
            _ => 0.0,
        }
    }
}

fn scaled(random: u32, count: u32) -> usize {
    ((u64::from(random) * u64::from(count)) >> 32) as usize
}

fn fraction(random: u32) -> f64 {
    f64::from(random) / 4_294_967_296.0
}

fn at(sums: &[f64], point: f64) -> usize {
    sums.partition_point(|&sum| sum <= point).min(sums.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::hash::further;

    /// One draw follows the weights to within one of a hundred; a second is another place and follows what is left.
    #[test]
    fn draws() {
        for weights in [vec![1.0, 1.0, 1.0, 1.0], vec![1.0, 2.0, 3.0, 4.0], vec![0.1, 5.0]] {
            let (mut first, mut second) = (vec![0.0; weights.len()], vec![0.0; weights.len()]);
            let drawn = Weights::new(&weights);
            let total: f64 = weights.iter().sum();
            for step in 0..200_000 {
                let (a, b) = drawn.two(further(7, step));
                assert_ne!(a, b);
                assert_eq!(a, drawn.one(further(7, step)));
                first[a] += 1.0 / 200_000.0;
                second[b] += 1.0 / 200_000.0;
            }
            for place in 0..weights.len() {
                assert!((first[place] - weights[place] / total).abs() < 0.01, "{weights:?} {first:?}");
                let others = (0..weights.len()).filter(|&other| other != place);
                let left: f64 = others
                    .map(|other| weights[other] / total * weights[place] / (total - weights[other]))
                    .sum();
                assert!((second[place] - left).abs() < 0.01, "{weights:?} {second:?}, {place} {left}");
            }
        }
    }

    /// One place is always that place; the ends of the random numbers stay inside.
    #[test]
    fn ends() {
        assert_eq!(Weights::new(&[3.0]).two(u64::MAX), (0, 0));
        for random in [0, u64::MAX, u64::from(u32::MAX), !u64::from(u32::MAX)] {
            for weights in [&[1.0, 1.0][..], &[1.0, 2.0, 1e-9], &[1e9, 1e-9]] {
                let (a, b) = Weights::new(weights).two(random);
                assert!(a != b && a.max(b) < weights.len());
            }
        }
    }
}
