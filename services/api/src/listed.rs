//! Lists that are asked with a filter: pages of what fits it.

use serde_json::Value;
use tidegate_filter::{JsonFilter, Things};
use tidegate_model::Timestamp;
use tidegate_wire::invalid_field;
use tonic::Status;

use crate::page_token::{self, ListOf};

/// Things that are read at once where a filter selects among them.
const CHUNK: usize = 100;
/// Things that a page looks through: a filter that few fit gives pages with few.
const MAX_LOOKED_AT: usize = 1_000;
/// Bytes of a page, but for its last thing: clients take messages of 4 MiB.
const MAX_PAGE_BYTES: usize = 2 << 20;

/// What a page of a list is asked with.
pub(crate) struct Asked<'a> {
    list: ListOf<'a>,
    filter: Option<JsonFilter>,
    /// What the filter counts from: when the first page was asked for.
    now: Timestamp,
    /// The key after which the page begins. Empty: at the first.
    pub after: String,
}

impl<'a> Asked<'a> {
    /// By a filter of these things, and the token of the page before. `of` is what else selects, such as a deployment.
    pub fn new(
        things: &'static Things,
        (namespace, of): (&'a str, &'a str),
        filter: &'a str,
        page_token: &str,
        now: Timestamp,
    ) -> Result<Self, Status> {
        let list = ListOf { namespace, filter, order_by: of };
        if filter.is_empty() {
            return Ok(Self { list, filter: None, now, after: page_token.to_owned() });
        }
        let (now, after) = match page_token {
            "" => (now, String::new()),
            token => page_token::read_filtered(token, &list)?,
        };
        let parsed = JsonFilter::parse_of(things, filter, now);
        let parsed = parsed.map_err(|error| invalid_field("filter", error.to_string()))?;
        Ok(Self { list, filter: Some(parsed), now, after })
    }

    /// The page after `after`. At most `most` are read at once.
    pub fn page<K: Clone, T>(&self, page_size: usize, after: Option<K>, most: usize) -> Page<K, T> {
        let chunk = if self.filter.is_some() { CHUNK } else { page_size };
        Page {
            filter: self.filter.clone(),
            page_size,
            chunk: chunk.min(most),
            things: Vec::new(),
            size: 0,
            n_looked_at: 0,
            last: after,
            is_full: false,
            is_over: false,
        }
    }

    /// The token of the page after the one that ends with this key.
    pub fn token(&self, key: &str) -> String {
        match self.filter {
            Some(_) => page_token::filtered(&self.list, self.now, key),
            None => key.to_owned(),
        }
    }
}

/// A page under way: the list is read by parts, in its order, until the page is full.
pub(crate) struct Page<K, T> {
    filter: Option<JsonFilter>,
    page_size: usize,
    /// How many are read at once.
    chunk: usize,
    things: Vec<T>,
    size: usize,
    n_looked_at: usize,
    /// The key of the last one that was looked at.
    last: Option<K>,
    is_full: bool,
    is_over: bool,
}

/// One of a list, as it is looked at.
pub(crate) struct Found<K, T> {
    /// By which the list is ordered.
    pub key: K,
    pub thing: T,
    /// How many bytes it adds to the page, roughly.
    pub size: usize,
}

impl<K: Clone, T> Page<K, T> {
    /// What is to be read next: those after this, and how many. `None`: the page is made.
    pub fn wanted(&self) -> Option<(Option<&K>, usize)> {
        (!self.is_full && !self.is_over).then_some((self.last.as_ref(), self.chunk))
    }

    /// Looks at what was read; `json` tells a filter what a thing has.
    pub fn take(
        &mut self,
        mut read: impl ExactSizeIterator<Item = Result<Found<K, T>, Status>>,
        json: impl Fn(&T, &JsonFilter) -> Value,
    ) -> Result<(), Status> {
        // The list ends with a part that has fewer than were asked for.
        let is_last = read.len() < self.chunk;
        let filter = self.filter.clone();
        let fits = |thing: &T| filter.as_ref().is_none_or(|filter| filter.matches(&json(thing, filter)));
        while let Some(found) = read.next() {
            let Found { key, thing, size } = found?;
            self.n_looked_at += 1;
            self.last = Some(key);
            if fits(&thing) {
                self.size += size;
                self.things.push(thing);
            }
            self.is_full = self.things.len() == self.page_size
                || self.n_looked_at >= MAX_LOOKED_AT
                || self.size > MAX_PAGE_BYTES;
            if self.is_full {
                // Nobody needs to ask for a page on which nothing would be.
                self.is_over = is_last && !read.any(|left| left.map_or(true, |left| fits(&left.thing)));
                return Ok(());
            }
        }
        self.is_over = is_last;
        Ok(())
    }

    /// The page, and by what the next one is asked for. Empty: this was the last.
    pub fn end(self, token: impl FnOnce(&K) -> String) -> (Vec<T>, String) {
        let next = self.last.as_ref().filter(|_| !self.is_over).map(token);
        (self.things, next.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_filter::FieldType;

    use super::*;

    const NUMBERS: Things = Things { one: "a number", fields: &[("tens", FieldType::Number)] };

    fn asked<'a>(filter: &'a str, token: &str) -> Result<Asked<'a>, Status> {
        Asked::new(&NUMBERS, ("default", ""), filter, token, Timestamp::UNIX_EPOCH)
    }

    /// All pages of a list of the numbers below `n`, and how often it was read.
    fn pages(n: usize, filter_text: &str, page_size: usize, size: usize) -> (Vec<Vec<usize>>, usize) {
        let (mut pages, mut n_reads, mut token) = (Vec::new(), 0, String::new());
        loop {
            let asked = asked(filter_text, &token).expect("is right");
            let mut page = asked.page(page_size, asked.after.parse().ok(), 1_000);
            while let Some((after, limit)) = page.wanted() {
                n_reads += 1;
                let from = after.map_or(0, |after: &usize| after + 1);
                let read: Vec<usize> = (from..n).take(limit).collect();
                let found = |number| Ok(Found { key: number, thing: number, size });
                page.take(read.into_iter().map(found), |number, _| json!({ "tens": number / 10 }))
                    .expect("is read");
            }
            let (things, next) = page.end(|number| asked.token(&number.to_string()));
            pages.push(things);
            if next.is_empty() {
                return (pages, n_reads);
            }
            token = next;
        }
    }

    #[test]
    fn pages_have_each_thing_once_and_as_many_as_are_asked_for() {
        assert_eq!(pages(5, "", 2, 0).0, [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!(pages(0, "", 2, 0).0, [Vec::<usize>::new()]);
        // Twenty of two hundred fit, in two places.
        let (found, n_reads) = pages(200, "tens = (3 OR 17)", 8, 0);
        assert_eq!(found.concat(), (30..40).chain(170..180).collect::<Vec<_>>());
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8, 4]);
        assert!(n_reads <= 6, "{n_reads}");
        // The last of the list fills the page: no further one is asked for.
        assert_eq!(pages(150, "tens = 14", 10, 0).0, [(140..150).collect::<Vec<_>>()]);
        assert_eq!(pages(150, "tens > 99", 10, 0).0, [Vec::<usize>::new()]);
    }

    #[test]
    fn a_page_is_bounded_in_what_it_looks_through_and_in_bytes() {
        let (found, _) = pages(2_500, "tens > 249", 10, 0);
        assert_eq!(found, vec![Vec::<usize>::new(); 3], "each call has looked through a thousand");
        let (found, _) = pages(3, "", 10, MAX_PAGE_BYTES);
        assert_eq!(found, [vec![0, 1], vec![2]]);
    }

    #[test]
    fn a_wrong_filter_is_told_as_the_field() {
        let status = asked("ten = 3", "").err().expect("is wrong");
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(status.message().contains("did you mean `tens`?"), "{}", status.message());
    }
}
