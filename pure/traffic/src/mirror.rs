//! Who gets a copy of a request (HTTPRequestMirrorFilter of gateway.networking.k8s.io/v1).

use tidegate_model::traffic::Mirror;

/// The mirrors that get this request. Each decides for itself: `random` is 64 random bits of this request, from which
/// every mirror takes its own.
pub fn chosen(mirrors: &[Mirror], random: u64) -> impl Iterator<Item = &Mirror> {
    let chances = (1u64..).map(move |index| mixed(random.wrapping_add(index.wrapping_mul(GOLDEN))));
    mirrors.iter().zip(chances).filter(|(mirror, chance)| takes(mirror, *chance)).map(|(mirror, _)| mirror)
}

/// Whether a mirror takes a request with that chance, spread evenly over all 64-bit numbers.
fn takes(mirror: &Mirror, chance: u64) -> bool {
    let turn = (u128::from(chance) * u128::from(mirror.denominator)) >> 64;
    turn < u128::from(mirror.numerator)
}

/// The step of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators), 2^64 / φ.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of SplitMix64.
fn mixed(mut state: u64) -> u64 {
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_model::traffic::Target;

    fn mirror(numerator: u32, denominator: u32) -> Mirror {
        Mirror { numerator, denominator, target: Target::Broken("test") }
    }

    fn counts(mirrors: &[Mirror], requests: u64) -> Vec<u64> {
        let mut counts = vec![0; mirrors.len()];
        for random in 0..requests {
            for found in chosen(mirrors, random) {
                let index = mirrors.iter().position(|mirror| std::ptr::eq(mirror, found)).unwrap();
                counts[index] += 1;
            }
        }
        counts
    }

    /// All, none, and shares in between are what they say, within three standard deviations.
    #[test]
    fn shares() {
        let mirrors = [mirror(1, 1), mirror(0, 100), mirror(20, 100), mirror(1, 1000), mirror(100, 100)];
        let counts = counts(&mirrors, 100_000);
        assert_eq!((counts[0], counts[1], counts[4]), (100_000, 0, 100_000));
        assert!(counts[2].abs_diff(20_000) < 380, "{counts:?}");
        assert!(counts[3].abs_diff(100) < 30, "{counts:?}");
    }

    /// Whether one mirror takes a request says nothing about the next.
    #[test]
    fn mirrors_are_independent() {
        let mirrors = [mirror(1, 2), mirror(1, 2)];
        let both = (0..100_000).filter(|&random| chosen(&mirrors, random).count() == 2).count();
        assert!(both.abs_diff(25_000) < 420, "{both}");
    }
}
