/// As much of a text as a terminal of this size shows without moving up, with how many lines it leaves out. The last row is
/// the cursor's.
pub fn cut(text: &str, n_rows: usize, n_columns: usize) -> String {
    let rows = |line: &str| width(line).div_ceil(n_columns.max(1)).max(1);
    let n_free = n_rows.saturating_sub(1);
    if text.lines().map(rows).sum::<usize>() <= n_free {
        return text.to_owned();
    }
    // One more row is that which tells how much is left out.
    let n_free = n_free.saturating_sub(1);
    let (mut shown, mut n_taken, mut n_lines) = (String::new(), 0, 0);
    for line in text.lines() {
        n_taken += rows(line);
        if n_taken > n_free {
            break;
        }
        shown.push_str(line);
        shown.push('\n');
        n_lines += 1;
    }
    let n_more = text.lines().count() - n_lines;
    format!("{shown}… {n_more} more\n")
}

/// Columns of a line, without what gives it colours.
fn width(line: &str) -> usize {
    let (mut n_columns, mut is_escape) = (0, false);
    for char in line.chars() {
        match char {
            '\x1b' => is_escape = true,
            char if is_escape => is_escape = !char.is_ascii_alphabetic(),
            // Letters and signs of East Asia, and what stands for things, are as wide as two.
            '\u{1100}'..='\u{115f}'
            | '\u{2e80}'..='\u{a4cf}'
            | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe6f}'
            | '\u{ff00}'..='\u{ff60}'
            | '\u{1f300}'..='\u{1faff}'
            | '\u{20000}'..='\u{3fffd}' => n_columns += 2,
            _ => n_columns += 1,
        }
    }
    n_columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_to_the_rows_of_the_terminal() {
        let text = "NAME\na\nb\nc\nd\n";
        assert_eq!(cut(text, 6, 80), text, "and a row for the cursor");
        assert_eq!(cut(text, 5, 80), "NAME\na\nb\n… 2 more\n");
        assert_eq!(cut(text, 3, 80), "NAME\n… 4 more\n");
        assert_eq!(cut(text, 1, 80), "… 5 more\n");
        assert_eq!(cut("", 5, 80), "");
    }

    #[test]
    fn a_line_that_is_wider_than_the_terminal_has_several_rows() {
        let wide = format!("NAME\n{}\nb\nc\n", "x".repeat(25));
        assert_eq!(cut(&wide, 7, 10), wide);
        assert_eq!(cut(&wide, 6, 10), format!("NAME\n{}\n… 2 more\n", "x".repeat(25)));
        let coloured = "\x1b[33mSCHEDULED\x1b[0m\nb\n";
        assert_eq!(cut(coloured, 3, 9), coloured, "what gives colours has no width");
        assert_eq!(cut("船船\nb\n", 3, 3), "… 2 more\n");
        assert_eq!(cut("a → b … ─\nb\n", 3, 9), "a → b … ─\nb\n", "arrows and lines have one");
    }
}
