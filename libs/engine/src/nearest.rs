//! Names that are like a wrong one.

/// How many are told.
const N_TOLD: usize = 3;
/// Characters of a name that is compared with others one by one. Longer ones take too long, and are no typos of words.
const MAX_COMPARED: usize = 128;

/// Up to three of these names that are like `wrong`, the likest first.
pub(crate) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = wrong.to_lowercase();
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let most = wrong.chars().count().div_ceil(3).max(2);
    let mut like: Vec<(usize, &str)> = known
        .filter_map(|name| {
            let other = name.to_lowercase();
            let n_edits = edits(&lower, &other, most);
            // The deployment's own name alone is how one is often called.
            let has_part = last(&other) == last(&lower) || other.starts_with(&format!("{lower}/"));
            match n_edits {
                Some(n_edits) => Some((n_edits, name)),
                None if has_part => Some((most + 1, name)),
                None => None,
            }
        })
        .collect();
    like.sort();
    like.into_iter().take(N_TOLD).map(|(_, name)| name).collect()
}

/// How many characters are to be changed, added or taken away; `None`: more than `most`.
fn edits(one: &str, other: &str, most: usize) -> Option<usize> {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().abs_diff(other.len()) > most || one.len().max(other.len()) > MAX_COMPARED {
        return None;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (one_idx, in_one) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = one_idx + 1;
        for (other_idx, in_other) in other.iter().enumerate() {
            let changed = diagonal + usize::from(in_one != in_other);
            diagonal = row[other_idx + 1];
            row[other_idx + 1] = changed.min(diagonal + 1).min(row[other_idx] + 1);
        }
        // It does not become less again.
        if row.iter().min().is_some_and(|least| *least > most) {
            return None;
        }
    }
    row.last().copied().filter(|n_edits| *n_edits <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likest_come_first_and_strangers_do_not() {
        let known = ["etl/nightly", "etl/nightly-2", "report/weekly", "Etl/Nightly", "other/nightly"];
        let like = |wrong| nearest(wrong, known.into_iter());
        assert_eq!(like("etl/nighly"), ["Etl/Nightly", "etl/nightly", "etl/nightly-2"]);
        assert_eq!(like("etk/weekly"), ["report/weekly"]);
        assert_eq!(like("train/model"), [""; 0]);
    }

    #[test]
    fn edits_are_counted_up_to_a_bound() {
        assert_eq!(edits("kitten", "sitting", 3), Some(3));
        assert_eq!(edits("kitten", "sitting", 2), None);
        assert_eq!(edits("", "ab", 2), Some(2));
        let long = "n".repeat(MAX_COMPARED);
        assert_eq!(edits(&long, &long, 2), Some(0));
        assert_eq!(edits(&format!("{long}n"), &long, 2), None);
    }
}
