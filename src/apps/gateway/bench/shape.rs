//! How load changes over time. Pure: a shape says how many requests have begun by when.

use std::{f64::consts::TAU, time::Duration};

use serde::Serialize;

/// Requests begin in steps of this length.
pub const STEP: Duration = Duration::from_millis(50);
/// Steps in a second.
const STEPS: u64 = 20;
/// Seconds from one crest to the next.
const WAVE: f64 = 4.0;

/// How load changes over time.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// All at once
    Once,
    /// As many in every second
    Constant,
    /// From nothing to twice the rate
    Rising,
    /// A second with a fifth of the rate, a second with nine fifths, and so on
    Jumping,
    /// In waves around the rate
    Wavering,
    /// By chance, between nothing and twice the rate
    Random,
}

impl Shape {
    /// How many of `total` requests begin in each step, at `rate` a second (above 0) on average.
    pub fn steps(self, total: u64, rate: u64) -> impl Iterator<Item = u64> {
        let usual = rate as f64 / STEPS as f64;
        let length = total as f64 / usual;
        let (mut left, mut owed, mut step, mut chance) = (total, 0.0, 0u64, 0x9e37_79b9_7f4a_7c15u64);
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let second = step / STEPS;
            let share = match self {
                Shape::Once => return Some(std::mem::take(&mut left)),
                Shape::Constant => 1.0,
                Shape::Rising => (2.0 * (step as f64 + 0.5) / length).min(2.0),
                Shape::Jumping => [0.2, 1.8][(second % 2) as usize],
                Shape::Wavering => 1.0 + 0.8 * (TAU * step as f64 / STEPS as f64 / WAVE).sin(),
                Shape::Random => {
                    // Xorshift (Marsaglia, 2003): the same in every run.
                    chance ^= chance << 13;
                    chance ^= chance >> 7;
                    chance ^= chance << 17;
                    2.0 * (chance >> 11) as f64 / (1u64 << 53) as f64
                }
            };
            step += 1;
            owed += share * usual;
            let now = (owed as u64).min(left);
            owed -= now as f64;
            left -= now;
            Some(now)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(shape: Shape) -> Vec<u64> {
        shape.steps(10_000, 1_000).collect()
    }

    #[test]
    fn each_shape_begins_all_of_them_in_about_the_time() {
        use Shape::{Constant, Jumping, Once, Random, Rising, Wavering};
        for shape in [Once, Constant, Rising, Jumping, Wavering, Random] {
            let steps = steps(shape);
            assert_eq!(steps.iter().sum::<u64>(), 10_000, "{shape:?}");
            assert!(shape == Once || (180..=240).contains(&steps.len()), "{shape:?}: {}", steps.len());
        }
    }

    #[test]
    fn shapes_look_as_they_are_called() {
        assert_eq!(steps(Shape::Once), [10_000]);
        assert_eq!(steps(Shape::Constant)[..3], [50, 50, 50]);
        let rising = steps(Shape::Rising);
        assert!(
            rising[0] == 0 && rising[190] > 90 && rising[..rising.len() - 1].is_sorted_by(|one, two| *one <= two + 1)
        );
        let jumping = steps(Shape::Jumping);
        assert_eq!((jumping[1], jumping[21]), (10, 90));
        let wavering = steps(Shape::Wavering);
        assert!(wavering[20] >= 89 && wavering[60] <= 11);
        assert!(steps(Shape::Random).iter().any(|now| *now > 80));
    }
}
