//! Names that rows and the API share. Rows keep a name as text when they are read: another version may have written a
//! name that this one does not know.

/// An enum whose variants have a name each: the text in a row and in the API.
macro_rules! words {
    ($(#[$about:meta])* pub enum $name:ident { $($(#[$doc:meta])* $word:ident = $text:tt,)+ }) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ::serde::Serialize, ::serde::Deserialize, ::utoipa::ToSchema)]
        $(#[$about])*
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $text)] $word,)+
        }

        impl $name {
            /// The name in a row.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$word => $text,)+
                }
            }
        }
    };
}

pub(crate) use words;
