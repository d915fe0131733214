/// The name that was probably meant where there is none of this one.
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let most = 1 + name.chars().count() / 4;
    let near = names.into_iter().map(|other| (distance(&name, other), other));
    near.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, near)| near)
}

/// How many characters must be put in, taken out or changed (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (from_idx, from) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], from_idx + 1);
        for (to_idx, to) in to.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[to_idx + 1];
            row[to_idx + 1] = changed.min(diagonal + 1).min(row[to_idx] + 1);
        }
    }
    row[to.len()]
}
