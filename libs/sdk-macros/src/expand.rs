use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Attribute, ItemFn, Path, Result, Type, ext::IdentExt, spanned::Spanned};

use crate::{
    options::Options,
    signature::{self, Argument, Parameter, Signature},
};

/// The function that makes calls, in the place of the one that was written.
pub(crate) fn expand(kind: &str, options: TokenStream, function: TokenStream) -> TokenStream {
    let word = kind.to_lowercase();
    let function: ItemFn = match syn::parse2(function) {
        Ok(function) => function,
        Err(_) => {
            let message = format!("#[{word}] stands before an async function");
            return syn::Error::new(Span::call_site(), message).into_compile_error();
        }
    };
    match try_expand(kind, &word, options, &function) {
        Ok(tokens) => tokens,
        Err(error) => error.into_compile_error(),
    }
}

fn try_expand(kind: &str, word: &str, options: TokenStream, function: &ItemFn) -> Result<TokenStream> {
    let signature = signature::parse(function, word)?;
    let options = Options::parse(options)?;
    let (outer_attrs, inner_attrs) = split(&function.attrs);
    let (vis, ident) = (&function.vis, &function.sig.ident);
    let parameters: Vec<&Parameter> = signature.parameters().collect();
    let idents: Vec<&Ident> = parameters.iter().map(|parameter| &parameter.ident).collect();
    let types: Vec<&Type> = parameters.iter().map(|parameter| &parameter.ty).collect();
    let attrs = parameters.iter().map(|parameter| {
        let attrs = &parameter.attrs;
        quote!(#(#attrs)*)
    });
    let names = parameters.iter().map(|parameter| parameter.name());
    let name = match &options.name {
        Some(name) => name.value(),
        None => ident.unraw().to_string(),
    };
    let value = value_type(&signature);
    let code = code(function, &signature, &inner_attrs);
    let run = run(&signature, &options);
    let checks = checks(&signature);
    let hooks = hooks(&options);
    let kind = Ident::new(kind, Span::call_site());
    let (setters, templates) = (&options.setters, &options.templates);
    let max_concurrency =
        options.max_concurrency.as_ref().map(|n| quote!(const MAX_CONCURRENCY: usize = #n;));
    let ignores = options.ignores_failures.then(|| {
        quote!(
            const IGNORES_FAILURES: bool = true;
        )
    });
    let hears = (!options.on_completion.is_empty()).then(|| {
        quote!(
            const HEARS_COMPLETION: bool = true;
        )
    });
    Ok(quote! {
        #(#outer_attrs)*
        #vis fn #ident(
            #(#idents: #types),*
        ) -> ::tidegate_sdk::Call<impl ::tidegate_sdk::Function<Output = #value>> {
            #[derive(::tidegate_sdk::__private::serde::Serialize, ::tidegate_sdk::__private::serde::Deserialize)]
            #[serde(crate = "::tidegate_sdk::__private::serde", deny_unknown_fields)]
            struct __Call {
                #(#attrs #idents: #types,)*
            }

            impl ::tidegate_sdk::Function for __Call {
                type Output = #value;
                const KIND: ::tidegate_sdk::proto::RunKind = ::tidegate_sdk::proto::RunKind::#kind;
                const NAME: &'static str = #name;
                const PARAMETERS: &'static [&'static str] = &[#(#names),*];
                #max_concurrency
                #ignores
                #hears

                fn run(
                    self,
                    __context: ::tidegate_sdk::Context,
                ) -> ::tidegate_sdk::__private::BoxFuture<
                    'static,
                    ::core::result::Result<Self::Output, ::tidegate_sdk::proto::Failure>,
                > {
                    #code
                    #checks
                    let Self { #(#idents),* } = self;
                    #run
                }

                #hooks
            }

            let __call = ::tidegate_sdk::Call::<__Call>::template() #setters #templates;
            __call.with(__Call { #(#idents),* })
        }
    })
}

/// Documentation and the like belong to the function that is called, the rest to the code that runs.
fn split(attrs: &[Attribute]) -> (Vec<Attribute>, Vec<Attribute>) {
    const OUTER: [&str; 4] = ["doc", "cfg", "deprecated", "must_use"];
    let is_outer = |attr: &&Attribute| OUTER.iter().any(|name| attr.path().is_ident(name));
    let outer =
        attrs.iter().filter(|attr| is_outer(attr) || attr.path().is_ident("allow")).cloned().collect();
    let inner = attrs.iter().filter(|attr| !is_outer(attr)).cloned().collect();
    (outer, inner)
}

/// What a run's result is.
fn value_type(signature: &Signature) -> TokenStream {
    let output = &signature.output;
    match &signature.value {
        _ if !signature.is_fallible => quote!(#output),
        Some(value) => quote!(#value),
        None => quote!(<#output as ::tidegate_sdk::__private::Fallible>::Value),
    }
}

/// The function as it was written, under a name that cannot be its own: in its body that is the one that starts
/// calls.
fn code(function: &ItemFn, signature: &Signature, attrs: &[Attribute]) -> TokenStream {
    let arguments =
        signature.arguments.iter().zip(&function.sig.inputs).map(|(argument, input)| match argument {
            Argument::Context => {
                let mut input = input.clone();
                if let syn::FnArg::Typed(input) = &mut input {
                    input.attrs.clear();
                }
                quote!(#input)
            }
            Argument::Parameter(parameter) => {
                let Parameter { ident, mutability, ty, .. } = &**parameter;
                quote!(#mutability #ident: #ty)
            }
        });
    let (output, body) = (&function.sig.output, &function.block);
    quote! {
        #(#attrs)*
        async fn __code(#(#arguments),*) #output #body
    }
}

fn run(signature: &Signature, options: &Options) -> TokenStream {
    let arguments = signature.arguments.iter().map(|argument| match argument {
        Argument::Context => quote!(__context.clone()),
        Argument::Parameter(parameter) => {
            let ident = &parameter.ident;
            quote!(#ident)
        }
    });
    let call = quote!(__code(#(#arguments),*).await);
    // What is said of a result, such as that its error is none, is said of its type.
    let span = at(signature.output.span());
    let ended = if !signature.is_fallible {
        quote!(::core::result::Result::Ok(#call))
    } else if let Some(retry_if) = &options.retry_if {
        let checked = quote_spanned!(at(retry_if.span())=> #retry_if(error));
        quote_spanned!(span=> ::tidegate_sdk::__private::ended(#call, |error| #checked))
    } else {
        quote_spanned!(span=> ::tidegate_sdk::__private::ended(#call, |_| true))
    };
    quote!(::std::boxed::Box::pin(async move { #ended }))
}

/// A `Result` under another name would count as a value.
fn checks(signature: &Signature) -> TokenStream {
    if signature.is_fallible {
        return TokenStream::new();
    }
    let output = &signature.output;
    quote_spanned! {at(output.span())=>
        const {
            use ::tidegate_sdk::__private::NoResult as _;
            ::core::assert!(
                !::tidegate_sdk::__private::Probe::<#output>::IS_RESULT,
                "this type is a `Result` under another name: write it as `Result<…>`, or give it a name that ends in `Result`"
            );
        }
    }
}

fn hooks(options: &Options) -> TokenStream {
    let hook = |name: &str, paths: &[Path], value: Option<TokenStream>| {
        if paths.is_empty() {
            return TokenStream::new();
        }
        let name = Ident::new(name, Span::call_site());
        let parameter = value.as_ref().map(|ty| quote!(, __value: &'a #ty));
        let argument = value.as_ref().map(|_| quote!(, __value));
        let calls = paths.iter().map(|path| {
            quote_spanned! {at(path.span())=>
                ::tidegate_sdk::__private::hooked(
                    __context, ::core::stringify!(#path), #path(__context.clone() #argument).await
                );
            }
        });
        quote! {
            fn #name<'a>(
                __context: &'a ::tidegate_sdk::Context #parameter
            ) -> ::tidegate_sdk::__private::BoxFuture<'a, ()> {
                ::std::boxed::Box::pin(async move { #(#calls)* })
            }
        }
    };
    let failure = quote!(::tidegate_sdk::proto::Failure);
    let hooks = [
        hook("on_running", &options.on_running, None),
        hook("on_completion", &options.on_completion, Some(quote!(Self::Output))),
        hook("on_failure", &options.on_failure, Some(failure)),
        hook("on_cancellation", &options.on_cancellation, None),
    ];
    quote!(#(#hooks)*)
}

/// Where `span` is, for names of our own.
fn at(span: Span) -> Span {
    span.resolved_at(Span::call_site())
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::expand;

    /// What the compiler is told of a mistake.
    fn message(options: proc_macro2::TokenStream, function: proc_macro2::TokenStream) -> String {
        let expanded = expand("Task", options, function).to_string();
        assert!(expanded.contains("compile_error"), "{expanded}");
        let (_, message) = expanded.split_once('"').unwrap();
        message.rsplit_once('"').unwrap().0.replace("\\\"", "\"")
    }

    fn of_function(function: proc_macro2::TokenStream) -> String {
        message(quote!(), function)
    }

    fn of_options(options: proc_macro2::TokenStream) -> String {
        message(
            options,
            quote!(
                async fn f() {}
            ),
        )
    }

    #[test]
    fn what_cannot_be_a_task_is_told_with_the_mend() {
        assert_eq!(
            of_function(quote!(
                fn f() {}
            )),
            "a task is an async function: write `async fn`"
        );
        assert!(
            of_function(quote!(
                async fn f(&self) {}
            ))
            .starts_with("a task cannot take `self`")
        );
        assert!(
            of_function(quote!(
                async fn f<T>(t: T) {}
            ))
            .starts_with("a task cannot be generic")
        );
        assert!(
            of_function(quote!(
                async fn f(t: &str) {}
            ))
            .contains("take `String` instead of `&str`")
        );
        assert!(
            of_function(quote!(
                async fn f(t: Vec<&str>) {}
            ))
            .contains("take `String` instead of `&str`")
        );
        assert!(
            of_function(quote!(
                async fn f(t: impl Into<String>) {}
            ))
            .contains("a type of its own")
        );
        assert!(
            of_function(quote!(
                async fn f((a, b): (u8, u8)) {}
            ))
            .contains("give it one")
        );
        assert!(
            of_function(quote!(
                async fn f(c: &Context) {}
            ))
            .contains("write `Context`")
        );
        assert!(
            of_function(quote!(
                async fn f() -> impl Stream {}
            ))
            .contains("return a `Vec`")
        );
        assert!(
            of_function(quote!(
                async unsafe fn f() {}
            ))
            .contains("unsafe")
        );
        assert!(
            of_function(quote!(
                struct F;
            ))
            .contains("#[task] stands before an async function")
        );
        assert!(
            of_function(quote!(
                async fn f(#[cfg(unix)] a: u8) {}
            ))
            .contains("#[serde(…)]")
        );
    }

    #[test]
    fn what_is_no_option_is_told_with_the_mend() {
        assert!(
            of_options(quote!(retry = 3)).starts_with("there is no option `retry`; the options are name, ")
        );
        assert_eq!(of_options(quote!(retries = "3")), "`retries` is a number: `retries = 3`");
        assert!(
            of_options(quote!(timeout = "soon")).starts_with("`soon` is not a time: write it as \"500ms\"")
        );
        assert!(of_options(quote!(timeout = 30)).contains("`timeout` is a text"));
        assert!(of_options(quote!(labels("team"))).contains("write \"team=…\""));
        assert!(of_options(quote!(on_failure = "hook")).contains("write `on_failure = my_function`"));
        assert!(of_options(quote!(on_crashed = hook)).contains("a process that has crashed"));
        assert!(of_options(quote!(on_unawaited_failure = "no")).contains("\"fail\" or \"ignore\""));
        assert_eq!(of_options(quote!(retries = 1, retries = 2)), "`retries` is said twice");
    }
}
