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

    /// As numbers for a column: first and last of each range in turn. The bits of a number above `i64::MAX`
    /// come back as they were.
    pub fn to_column(&self) -> Vec<i64> {
        self.ranges.iter().flat_map(|&(first, last)| [first.cast_signed(), last.cast_signed()]).collect()
    }

    /// From such a column; `None` where it does not read.
    pub fn from_column(column: &[i64]) -> Option<Self> {
        let (pairs, []) = column.as_chunks::<2>() else { return None };
        let ranges: Vec<_> =
            pairs.iter().map(|[first, last]| (first.cast_unsigned(), last.cast_unsigned())).collect();
        let in_order = ranges.iter().all(|(first, last)| first <= last)
            && ranges.windows(2).all(|pair| pair[0].1 < pair[1].0);
        in_order.then_some(Self { ranges })
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
        assert_eq!(set.to_column(), [1, 15]);
    }

    #[test]
    fn any_order_is_right_and_survives_the_column() {
        let (mut set, mut expected) = (SeqSet::default(), BTreeSet::new());
        let mut seq: u64 = 7;
        for _ in 0..500 {
            seq = seq.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let small = (seq >> 33) % 100;
            assert_eq!(set.insert(small), expected.insert(small), "{small}");
            assert_eq!(SeqSet::from_column(&set.to_column()), Some(set.clone()));
        }
        assert!(set.insert(u64::MAX) && !set.insert(u64::MAX));
        assert_eq!(SeqSet::from_column(&set.to_column()), Some(set));
    }

    #[test]
    fn memory_is_bounded() {
        let mut set = SeqSet::default();
        for seq in 0..1_000 {
            assert!(set.insert(seq * 2));
        }
        assert_eq!(set.to_column().len(), SeqSet::MAX_RANGES * 2);
        assert!(!set.insert(1), "the lowest gaps count as stored");
        assert!(set.insert(1_997));
    }

    #[test]
    fn a_column_that_is_none_is_refused() {
        for column in [&[1_i64] as &[i64], &[3, 2], &[1, 5, 4, 9]] {
            assert_eq!(SeqSet::from_column(column), None);
        }
    }
}
