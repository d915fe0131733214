use proc_macro2::TokenStream;
use quote::{ToTokens as _, quote};
use syn::{
    Error, Expr, ExprLit, Lit, LitStr, Meta, MetaList, Path, Result, Token, parse::Parser as _,
    punctuated::Punctuated, spanned::Spanned,
};

use crate::durations;

/// All that can be said, for the message about what cannot.
const NAMES: &str = "name, run_name, retries, retry_delays, retry_backoff, max_retry_delay, retry_jitter, \
    retry_on, never_retry_on, retry_if, timeout, cancel_grace, max_crashes, tags, labels, inherit_labels, queue, \
    priority, concurrency_limits, fairness_key, require_labels, sticky, detached, always_new, cache_key, \
    cache_expires_after, refresh_cache, max_concurrency, on_unawaited_failure, on_running, on_completion, on_failure, on_cancellation";

/// What the attribute says.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    /// Calls of setters of `Call`: `.retries(3)`.
    pub(crate) setters: TokenStream,
    /// The same, with texts that have parameters in braces.
    pub(crate) templates: TokenStream,
    pub(crate) retry_if: Option<Path>,
    pub(crate) max_concurrency: Option<Expr>,
    pub(crate) ignores_failures: bool,
    pub(crate) on_running: Vec<Path>,
    pub(crate) on_completion: Vec<Path>,
    pub(crate) on_failure: Vec<Path>,
    pub(crate) on_cancellation: Vec<Path>,
}

impl Options {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        let mut options = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for option in Punctuated::<Meta, Token![,]>::parse_terminated.parse2(tokens)? {
            let name = option.path().to_token_stream().to_string();
            if seen.contains(&name) {
                return Err(Error::new(option.span(), format!("`{name}` is said twice")));
            }
            options.take(&name, &option)?;
            seen.push(name);
        }
        Ok(options)
    }

    fn take(&mut self, name: &str, option: &Meta) -> Result<()> {
        match name {
            "name" => self.name = Some(text(option)?),
            "run_name" => self.template(quote!(run_name), &text(option)?),
            "cache_key" => self.template(quote!(cache_key), &text(option)?),
            "fairness_key" => self.template(quote!(fairness_key), &text(option)?),
            "queue" => {
                let queue = text(option)?;
                self.set(quote!(queue(#queue)));
            }
            "retries" => self.set_number(option, "retries")?,
            "max_crashes" => self.set_number(option, "max_crashes")?,
            "priority" => self.set_number(option, "priority")?,
            "retry_jitter" => self.set_number(option, "retry_jitter")?,
            "retry_backoff" => self.set_number(option, "retry_backoff")?,
            "retry_delays" => {
                let delays = delays(option)?;
                self.set(quote!(retry_delays([#(#delays),*])));
            }
            "max_retry_delay" => self.set_time(option, quote!(max_retry_delay))?,
            "timeout" => self.set_time(option, quote!(run_timeout))?,
            "cancel_grace" => self.set_time(option, quote!(cancel_grace))?,
            "cache_expires_after" => self.set_time(option, quote!(cache_expires_after))?,
            "tags" => self.set_texts(option, quote!(tags))?,
            "retry_on" => self.set_texts(option, quote!(retry_on))?,
            "never_retry_on" => self.set_texts(option, quote!(never_retry_on))?,
            "concurrency_limits" => self.set_texts(option, quote!(concurrency_limits))?,
            "labels" => self.set_labels(option, quote!(labels))?,
            "require_labels" => self.set_labels(option, quote!(require_labels))?,
            "inherit_labels" => self.set_flag(option, quote!(inherit_labels))?,
            "sticky" => self.set_flag(option, quote!(sticky))?,
            "detached" => self.set_flag(option, quote!(detached))?,
            "refresh_cache" => self.set_flag(option, quote!(refresh_cache))?,
            "always_new" => self.set_flag(option, quote!(always_new))?,
            "retry_if" => self.retry_if = Some(one_path(option)?),
            "max_concurrency" => self.max_concurrency = Some(value(option)?.clone()),
            "on_unawaited_failure" => self.ignores_failures = ignores(&text(option)?)?,
            "on_running" => self.on_running = paths(option)?,
            "on_completion" => self.on_completion = paths(option)?,
            "on_failure" => self.on_failure = paths(option)?,
            "on_cancellation" => self.on_cancellation = paths(option)?,
            "on_crashed" => {
                let message = "a process that has crashed cannot call a hook: watch for the state CRASHED with \
                    `Client::watch`, or wait for the run where it was started";
                return Err(Error::new(option.span(), message));
            }
            _ => {
                let message = format!("there is no option `{name}`; the options are {NAMES}");
                return Err(Error::new(option.path().span(), message));
            }
        }
        Ok(())
    }

    fn set(&mut self, call: TokenStream) {
        self.setters.extend(quote!(.#call));
    }

    /// `format!` finds the parameters by their names, and complains of others where they stand.
    fn template(&mut self, setter: TokenStream, text: &LitStr) {
        self.templates.extend(quote!(.#setter(::std::format!(#text))));
    }

    fn set_number(&mut self, option: &Meta, setter: &str) -> Result<()> {
        let (setter, number) = (syn::Ident::new(setter, option.path().span()), value(option)?);
        if let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = number {
            return Err(Error::new(text.span(), format!("`{setter}` is a number: `{setter} = 3`")));
        }
        self.set(quote!(#setter(#number)));
        Ok(())
    }

    fn set_time(&mut self, option: &Meta, setter: TokenStream) -> Result<()> {
        let time = time(&text(option)?)?;
        self.set(quote!(#setter(#time)));
        Ok(())
    }

    fn set_texts(&mut self, option: &Meta, setter: TokenStream) -> Result<()> {
        let texts = texts(option)?;
        self.set(quote!(#setter([#(#texts),*])));
        Ok(())
    }

    fn set_labels(&mut self, option: &Meta, setter: TokenStream) -> Result<()> {
        let mut pairs = Vec::new();
        for text in texts(option)? {
            let label = text.value();
            let Some((key, value)) = label.split_once('=') else {
                let message = format!("a label is a key and a value: write \"{label}=…\"");
                return Err(Error::new(text.span(), message));
            };
            pairs.push(quote!((#key, #value)));
        }
        self.set(quote!(#setter([#(#pairs),*])));
        Ok(())
    }

    fn set_flag(&mut self, option: &Meta, setter: TokenStream) -> Result<()> {
        option.require_path_only()?;
        self.set(quote!(#setter()));
        Ok(())
    }
}

fn value(option: &Meta) -> Result<&Expr> {
    match option {
        Meta::NameValue(pair) => Ok(&pair.value),
        other => {
            let name = other.path().to_token_stream();
            Err(Error::new(other.span(), format!("`{name}` has one value: write `{name} = …`")))
        }
    }
}

fn text(option: &Meta) -> Result<LitStr> {
    let value = value(option)?;
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.clone()),
        other => {
            let name = option.path().to_token_stream();
            Err(Error::new(other.span(), format!("`{name}` is a text: write `{name} = \"…\"`")))
        }
    }
}

/// Of `tags("a", "b")` and of `tags = "a"`.
fn texts(option: &Meta) -> Result<Vec<LitStr>> {
    match option {
        Meta::List(list) => items(list),
        other => Ok(vec![text(other)?]),
    }
}

fn items<T: syn::parse::Parse>(list: &MetaList) -> Result<Vec<T>> {
    let items = list.parse_args_with(Punctuated::<T, Token![,]>::parse_terminated)?;
    Ok(items.into_iter().collect())
}

/// Of `on_failure = hook` and of `on_failure(one, other)`.
fn paths(option: &Meta) -> Result<Vec<Path>> {
    match option {
        Meta::List(list) => items(list),
        other => Ok(vec![one_path(other)?]),
    }
}

fn one_path(option: &Meta) -> Result<Path> {
    match value(option)? {
        Expr::Path(path) => Ok(path.path.clone()),
        other => {
            let name = option.path().to_token_stream();
            let message = format!("`{name}` names a function: write `{name} = my_function`");
            Err(Error::new(other.span(), message))
        }
    }
}

fn time(text: &LitStr) -> Result<TokenStream> {
    let time = durations::parse(&text.value()).map_err(|message| Error::new(text.span(), message))?;
    Ok(duration(time))
}

/// Of `retry_delays = "1s, 10s"` and of `retry_delays("1s", "10s")`.
fn delays(option: &Meta) -> Result<Vec<TokenStream>> {
    let mut delays = Vec::new();
    for text in texts(option)? {
        let times = durations::parse_list(&text.value());
        delays.extend(times.map_err(|message| Error::new(text.span(), message))?.into_iter().map(duration));
    }
    Ok(delays)
}

fn duration(time: std::time::Duration) -> TokenStream {
    let (seconds, nanos) = (time.as_secs(), time.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}

fn ignores(word: &LitStr) -> Result<bool> {
    match word.value().as_str() {
        "ignore" => Ok(true),
        "fail" => Ok(false),
        other => {
            let message = format!("`on_unawaited_failure` is \"fail\" or \"ignore\", not \"{other}\"");
            Err(Error::new(word.span(), message))
        }
    }
}
