//! Enumerations as numbers.

use trireme_engine::{Kind, Limit, Preview, Rights, World};

use crate::abi;
use crate::memory::Malformed;

/// An enumeration whose values have numbers in the interface.
pub trait Number: Sized + Copy + 'static {
    /// What it is called in messages.
    const WHAT: &'static str;
    /// Every value with its number.
    const ALL: &'static [(u32, Self)];

    /// The value of a number.
    ///
    /// # Errors
    ///
    /// For a number that stands for nothing.
    fn of(number: u32) -> Result<Self, Malformed> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == number)
            .map(|(_, value)| *value)
            .ok_or(Malformed::Unknown {
                what: Self::WHAT,
                number,
            })
    }
}

macro_rules! numbers {
    ($($type:ident $what:literal { $($value:ident = $number:ident),* $(,)? })*) => {
        $(impl Number for $type {
            const WHAT: &'static str = $what;
            const ALL: &'static [(u32, Self)] = &[$((abi::$number, $type::$value)),*];
        }

        impl ToNumber for $type {
            fn number(self) -> u32 {
                // A value that is added to the type must be added here.
                match self {
                    $($type::$value => abi::$number),*
                }
            }
        })*
    };
}

/// A value that has a number.
pub(crate) trait ToNumber {
    fn number(self) -> u32;
}

/// The number of a kind of WebAssembly.
pub fn number(kind: Kind) -> u32 {
    kind.number()
}

numbers! {
    Kind "the kind of WebAssembly" { Module = KIND_MODULE, Component = KIND_COMPONENT }
    World "the world" { Command = WORLD_COMMAND }
    Preview "the level of WASI" { P1 = WASI_0_1, P2 = WASI_0_2 }
    Limit "the limit" {
        Memory = LIMIT_MEMORY, Table = LIMIT_TABLE, Stack = LIMIT_STACK, Fuel = LIMIT_FUEL,
    }
    Rights "the rights" { ReadOnly = RIGHTS_READ_ONLY, ReadWrite = RIGHTS_READ_WRITE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_as_its_value_and_another_is_refused() {
        for (number, value) in Limit::ALL {
            assert_eq!(Limit::of(*number), Ok(*value));
            assert_eq!(value.number(), *number);
        }
        for number in [0, 3, u32::MAX] {
            let error = Kind::of(number).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("the kind of WebAssembly {number} is not known")
            );
        }
    }
}
