use std::{fmt, str::FromStr};

/// The numbers that a writer has stored, kept as ranges: one range for a writer that counts up and repeats
/// what was not acknowledged.
///
/// At most [`SeqSet::MAX_RANGES`] ranges are kept. Beyond that the lowest gap counts as stored: a writer that
/// comes back that late with a number it left out loses that line, and memory stays bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeqSet {
    /// First and last of each range; ascending, with a gap between neighbours.
    ranges: Vec<(u64, u64)>,
}

impl SeqSet {
    /// How many ranges are kept.
    pub const MAX_RANGES: usize = 64;

    /// Adds `seq`; false where it is in already.
    pub fn insert(&mut self, seq: u64) -> bool {
        // The common case first: the next number of a writer that counts up.
        let next_idx = match self.ranges.last() {
            Some(&(_, last)) if seq > last => self.ranges.len(),
            _ => self.ranges.partition_point(|&(first, _)| first <= seq),
        };
        if next_idx > 0 && seq <= self.ranges[next_idx - 1].1 {
            return false;
        }
        let joins_previous = next_idx > 0 && self.ranges[next_idx - 1].1 + 1 == seq;
        let joins_next = self.ranges.get(next_idx).is_some_and(|&(first, _)| seq + 1 == first);
        match (joins_previous, joins_next) {
            (true, true) => {
                self.ranges[next_idx - 1].1 = self.ranges[next_idx].1;
                self.ranges.remove(next_idx);
            }
            (true, false) => self.ranges[next_idx - 1].1 = seq,
            (false, true) => self.ranges[next_idx].0 = seq,
            (false, false) => self.ranges.insert(next_idx, (seq, seq)),
        }
        if self.ranges.len() > Self::MAX_RANGES {
            let (lowest, _) = self.ranges.remove(0);
            self.ranges[0].0 = lowest;
        }
        true
    }
}

/// As a column holds it: `1-15,17,20-21`.
impl fmt::Display for SeqSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (range_idx, (first, last)) in self.ranges.iter().enumerate() {
            let separator = if range_idx == 0 { "" } else { "," };
            write!(f, "{separator}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}

/// A text that is no set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidSeqSet;

impl FromStr for SeqSet {
    type Err = InvalidSeqSet;

    fn from_str(text: &str) -> Result<Self, InvalidSeqSet> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| InvalidSeqSet);
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = (number(first)?, number(last)?);
            let after_previous = ranges.last().is_none_or(|(_, last)| *last < range.0);
            if range.0 > range.1 || !after_previous {
                return Err(InvalidSeqSet);
            }
            ranges.push(range);
        }
        Ok(Self { ranges })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_writer_that_counts_up_and_repeats_is_one_range() {
        let mut set = SeqSet::default();
        let new: Vec<u64> = (1..=10).chain(5..=15).filter(|seq| set.insert(*seq)).collect();
        assert_eq!(new, (1..=15).collect::<Vec<_>>());
        assert_eq!(set.to_string(), "1-15");
    }

    #[test]
    fn any_order_is_right_and_survives_its_text() {
        let (mut set, mut expected) = (SeqSet::default(), BTreeSet::new());
        let mut seq: u64 = 7;
        for _ in 0..500 {
            seq = seq.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let small = (seq >> 33) % 100;
            assert_eq!(set.insert(small), expected.insert(small), "{small}");
            assert_eq!(set.to_string().parse(), Ok(set.clone()));
        }
        assert!(set.insert(u64::MAX) && !set.insert(u64::MAX));
        assert_eq!(set.to_string().parse(), Ok(set));
    }

    #[test]
    fn memory_is_bounded() {
        let mut set = SeqSet::default();
        for seq in 0..1_000 {
            assert!(set.insert(seq * 2));
        }
        assert_eq!(set.to_string().split(',').count(), SeqSet::MAX_RANGES);
        assert!(!set.insert(1), "the lowest gaps count as stored");
        assert!(set.insert(1_997));
    }

    #[test]
    fn a_text_that_is_none_is_refused() {
        assert_eq!("".parse(), Ok(SeqSet::default()));
        for text in ["x", "1-", "3-2", "1-5,4-9", "1,1", ","] {
            assert_eq!(text.parse::<SeqSet>(), Err(InvalidSeqSet), "{text}");
        }
    }
}
