use crate::Error;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A bare word: a field, a keyword or a value.
    Word(String),
    /// A quoted text.
    Quoted(Literal),
    /// `=`, `!=`, `<`, `<=`, `>`, `>=` or `:`.
    Operator(&'static str),
    Open,
    Close,
    Minus,
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Literal {
    /// The text with its stars.
    pub text: String,
    /// Where in the text, in bytes, those stars are that stand for any text.
    pub stars: Vec<usize>,
}

impl Literal {
    /// A bare word: each star in it stands for any text.
    pub fn of_word(word: &str) -> Self {
        Self { text: word.to_owned(), stars: word.match_indices('*').map(|(idx, _)| idx).collect() }
    }

    /// A star alone: any value.
    pub fn is_any(&self) -> bool {
        self.text == "*" && !self.stars.is_empty()
    }
}

/// The tokens with their columns, counted in characters from 1.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Error> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut idx = 0;
    while let Some(&character) = chars.get(idx) {
        let column = idx + 1;
        let token = match character {
            _ if character.is_whitespace() => {
                idx += 1;
                continue;
            }
            '(' => Token::Open,
            ')' => Token::Close,
            // Part of a number or a word elsewhere; a negation only before a comparison.
            '-' if !chars.get(idx + 1).is_some_and(char::is_ascii_digit) => Token::Minus,
            '"' | '\'' => {
                let (value, end) = quoted(&chars, idx)?;
                found.push((column, Token::Quoted(value)));
                idx = end;
                continue;
            }
            _ => {
                if let Some(operator) = operator(&chars[idx..]) {
                    found.push((column, Token::Operator(operator)));
                    idx += operator.len();
                    continue;
                }
                let length = word_length(&chars[idx..]);
                if length == 0 {
                    return Err(Error { column, message: format!("`{character}` is not understood here") });
                }
                found.push((column, Token::Word(chars[idx..idx + length].iter().collect())));
                idx += length;
                continue;
            }
        };
        found.push((column, token));
        idx += 1;
    }
    Ok(found)
}

fn operator(rest: &[char]) -> Option<&'static str> {
    ["!=", "<=", ">=", "=", "<", ">", ":"]
        .into_iter()
        .find(|operator| operator.chars().zip(rest).filter(|(a, b)| a == *b).count() == operator.len())
}

/// A word that begins with a digit may be a time of day, whose colons are no operators.
fn word_length(rest: &[char]) -> usize {
    let is_number = rest[0].is_ascii_digit();
    let is_part = |idx: usize| {
        is_word(rest[idx])
            || is_number && rest[idx] == ':' && rest.get(idx + 1).is_some_and(char::is_ascii_digit)
    };
    (0..rest.len()).take_while(|idx| is_part(*idx)).count()
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '.' | '*' | '/' | '+' | '@' | '#')
}

/// The text in quotes from `start`, and where it ends. A backslash makes the next character plain, a star too.
fn quoted(chars: &[char], start: usize) -> Result<(Literal, usize), Error> {
    let quote = chars[start];
    let mut value = Literal { text: String::new(), stars: Vec::new() };
    let mut idx = start + 1;
    while let Some(&character) = chars.get(idx) {
        if character == quote {
            return Ok((value, idx + 1));
        }
        if character == '*' {
            value.stars.push(value.text.len());
        }
        if character == '\\' {
            idx += 1;
        }
        value.text.extend(chars.get(idx));
        idx += 1;
    }
    Err(Error { column: start + 1, message: "the quote is not closed".to_owned() })
}
