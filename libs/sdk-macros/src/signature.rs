use syn::{
    Attribute, Error, FnArg, GenericArgument, Ident, ItemFn, Pat, PathArguments, Result, ReturnType, Type,
    ext::IdentExt, parse_quote, spanned::Spanned,
};

/// What the signature of a flow or task says.
pub(crate) struct Signature {
    /// In the order in which they were written.
    pub(crate) arguments: Vec<Argument>,
    /// What the function gives, as it was written; `()` where nothing was.
    pub(crate) output: Type,
    /// True where that is a `Result`.
    pub(crate) is_fallible: bool,
    /// The type in that `Result`, where it can be seen.
    pub(crate) value: Option<Type>,
}

pub(crate) enum Argument {
    /// Passed in, not sent.
    Context,
    /// Sent by its name.
    Parameter(Box<Parameter>),
}

pub(crate) struct Parameter {
    pub(crate) ident: Ident,
    pub(crate) mutability: Option<syn::Token![mut]>,
    pub(crate) ty: Type,
    /// `#[serde(…)]` of the parameter.
    pub(crate) attrs: Vec<Attribute>,
}

impl Parameter {
    /// Its name in JSON.
    pub(crate) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }
}

impl Signature {
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.arguments.iter().filter_map(|argument| match argument {
            Argument::Parameter(parameter) => Some(&**parameter),
            Argument::Context => None,
        })
    }
}

/// Reads the signature of `function`; what cannot be a flow or task is refused where it stands.
pub(crate) fn parse(function: &ItemFn, kind: &str) -> Result<Signature> {
    let signature = &function.sig;
    let wrong = |at: &dyn Spanned, message: String| Err(Error::new(at.span(), message));
    if signature.asyncness.is_none() {
        return wrong(&signature.fn_token, format!("a {kind} is an async function: write `async fn`"));
    }
    if let Some(unsafety) = &signature.unsafety {
        return wrong(
            unsafety,
            format!("a {kind} cannot be unsafe: nobody checks what a worker calls it with"),
        );
    }
    if let Some(abi) = &signature.abi {
        return wrong(abi, format!("a {kind} cannot be `extern`"));
    }
    if let Some(generic) = signature.generics.params.first() {
        let message = format!(
            "a {kind} cannot be generic: a worker that is called by name knows no types; write one {kind} for each type"
        );
        return wrong(generic, message);
    }
    if let Some(variadic) = &signature.variadic {
        return wrong(variadic, format!("a {kind} takes a fixed number of parameters"));
    }
    let arguments = signature.inputs.iter().map(|input| argument(input, kind)).collect::<Result<_>>()?;
    let output: Type = match &signature.output {
        ReturnType::Default => parse_quote!(()),
        ReturnType::Type(_, ty) => (**ty).clone(),
    };
    match &output {
        Type::ImplTrait(ty) => {
            let message =
                format!("a {kind} has one result, which is kept: return a `Vec` instead of `impl …`");
            return wrong(ty, message);
        }
        Type::Reference(ty) => {
            return wrong(
                ty,
                format!(
                    "the result of a {kind} is kept, so it must be owned: return `String` instead of `&str`"
                ),
            );
        }
        _ => {}
    }
    let (is_fallible, value) = result_of(&output);
    Ok(Signature { arguments, output, is_fallible, value })
}

fn argument(input: &FnArg, kind: &str) -> Result<Argument> {
    let input = match input {
        FnArg::Receiver(receiver) => {
            let message = format!(
                "a {kind} cannot take `self`, which does not travel: make it a function, and pass what it needs as parameters"
            );
            return Err(Error::new(receiver.span(), message));
        }
        FnArg::Typed(input) => input,
    };
    if is_context(&input.ty) {
        return Ok(Argument::Context);
    }
    let Pat::Ident(pattern) = &*input.pat else {
        let message = "a parameter travels by its name, so give it one, and take it apart in the body";
        return Err(Error::new(input.pat.span(), message));
    };
    if let Some(by_ref) = &pattern.by_ref {
        return Err(Error::new(by_ref.span(), "a parameter is taken by value"));
    }
    check_owned(&input.ty)?;
    if let Some(other) = input.attrs.iter().find(|attr| !attr.path().is_ident("serde")) {
        return Err(Error::new(
            other.span(),
            "a parameter can have `#[serde(…)]`, such as `#[serde(default)]`, alone",
        ));
    }
    let (ident, mutability) = (pattern.ident.clone(), pattern.mutability);
    Ok(Argument::Parameter(Box::new(Parameter {
        ident,
        mutability,
        ty: (*input.ty).clone(),
        attrs: input.attrs.clone(),
    })))
}

/// True for `Context` and `tidegate_sdk::Context`.
fn is_context(ty: &Type) -> bool {
    matches!(ty, Type::Path(ty) if ty.path.segments.last().is_some_and(|last| last.ident == "Context" && last.arguments.is_none()))
}

/// A parameter is written as JSON and read again elsewhere, so it cannot borrow.
fn check_owned(ty: &Type) -> Result<()> {
    match ty {
        Type::Reference(reference) if is_context(&reference.elem) => {
            Err(Error::new(reference.span(), "the context is passed by value: write `Context`"))
        }
        Type::Reference(reference) => {
            let message = "parameters travel as JSON, so they must be owned: take `String` instead of `&str`, and \
                `Vec<T>` instead of `&[T]`";
            Err(Error::new(reference.span(), message))
        }
        Type::ImplTrait(ty) => Err(Error::new(
            ty.span(),
            "a parameter needs a type of its own: a worker that is called by name knows no other",
        )),
        Type::Path(path) => {
            for segment in &path.path.segments {
                let PathArguments::AngleBracketed(arguments) = &segment.arguments else { continue };
                for argument in &arguments.args {
                    match argument {
                        GenericArgument::Type(ty) => check_owned(ty)?,
                        GenericArgument::Lifetime(lifetime) if lifetime.ident != "static" => {
                            let message =
                                "parameters travel as JSON, so they cannot borrow: take an owned type";
                            return Err(Error::new(lifetime.span(), message));
                        }
                        _ => {}
                    }
                }
            }
            Ok(())
        }
        Type::Tuple(tuple) => tuple.elems.iter().try_for_each(check_owned),
        Type::Array(array) => check_owned(&array.elem),
        Type::Paren(inner) => check_owned(&inner.elem),
        _ => Ok(()),
    }
}

/// Whether `ty` is a `Result`, by its name, and what is in it.
fn result_of(ty: &Type) -> (bool, Option<Type>) {
    let Type::Path(path) = ty else { return (false, None) };
    let Some(last) = path.path.segments.last().filter(|last| last.ident.to_string().ends_with("Result"))
    else {
        return (false, None);
    };
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return (true, None) };
    // Of an alias with other parameters the first may be something else.
    let is_plain = last.ident == "Result";
    let value = arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) if is_plain => Some(ty.clone()),
        _ => None,
    });
    (true, value)
}
