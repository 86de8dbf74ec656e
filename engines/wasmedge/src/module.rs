//! What is known of a module from its own sections: WasmEdge tells neither the
//! memories and tables of a module nor the names of its functions.

use std::ops::Range;

use wasmparser::{
    BinaryReaderError, CompositeInnerType, ExternalKind, FuncType, KnownCustom, Name, Parser,
    Payload, TypeRef,
};

/// The section in which WasmEdge keeps native code.
const NATIVE: &str = "wasmedge";

/// A module, as far as it matters before it runs.
#[derive(Default)]
pub(crate) struct Outline {
    types: Vec<Option<FuncType>>,
    /// The type of each function, imported ones first.
    functions: Vec<u32>,
    /// Functions that are imported: module, name, type.
    pub(crate) imports: Vec<(String, String, Option<FuncType>)>,
    /// Everything else that is imported: module and name.
    pub(crate) other_imports: Vec<(String, String)>,
    /// Functions that are exported, by their number.
    exports: Vec<(String, u32)>,
    /// Whether a memory is exported.
    pub(crate) exports_memory: bool,
    /// What each memory starts with, in bytes.
    pub(crate) memories: Vec<u64>,
    /// What each table starts with, in elements.
    pub(crate) tables: Vec<u64>,
}

impl Outline {
    /// Reads a module that WasmEdge has found valid.
    pub(crate) fn read(wasm: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut outline = Outline::default();
        for payload in Parser::new(0).parse_all(wasm) {
            outline.note(payload?)?;
        }
        Ok(outline)
    }

    fn note(&mut self, payload: Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::TypeSection(groups) => {
                for group in groups {
                    self.types.extend(group?.into_types().map(
                        |ty| match ty.composite_type.inner {
                            CompositeInnerType::Func(ty) => Some(ty),
                            _ => None,
                        },
                    ));
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import?;
                    let (module, name) = (import.module.to_owned(), import.name.to_owned());
                    match import.ty {
                        TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                            self.functions.push(ty);
                            self.imports.push((module, name, self.ty(ty).cloned()));
                        }
                        _ => self.other_imports.push((module, name)),
                    }
                }
            }
            Payload::FunctionSection(functions) => {
                for ty in functions {
                    self.functions.push(ty?);
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    let memory = memory?;
                    let page = 1_u64 << memory.page_size_log2.unwrap_or(16);
                    self.memories.push(memory.initial.saturating_mul(page));
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    self.tables.push(table?.ty.initial);
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    match export.kind {
                        ExternalKind::Func | ExternalKind::FuncExact => {
                            self.exports.push((export.name.to_owned(), export.index));
                        }
                        ExternalKind::Memory => self.exports_memory = true,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn ty(&self, index: u32) -> Option<&FuncType> {
        self.types.get(index as usize)?.as_ref()
    }

    /// The type of an exported function; `None` where there is none.
    pub(crate) fn export(&self, name: &str) -> Option<&FuncType> {
        let (_, index) = self.exports.iter().find(|(export, _)| export == name)?;
        self.ty(*self.functions.get(*index as usize)?)
    }

    /// The names of exported functions.
    pub(crate) fn exports(&self) -> impl Iterator<Item = String> {
        self.exports.iter().map(|(name, _)| name.clone())
    }
}

/// A module without the native code that it may bring along; `None` where it is
/// cut short.
pub(crate) fn without_native_code(wasm: &[u8]) -> Result<Option<Vec<u8>>, BinaryReaderError> {
    let mut kept = Vec::with_capacity(wasm.len());
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        let is_native = match &payload {
            Payload::CustomSection(section) => section.name() == NATIVE,
            _ => false,
        };
        if let Payload::Version { range, .. } = &payload {
            kept.extend_from_slice(wasm.get(bytes(range)).unwrap_or_default());
        }
        if let Some((id, range)) = payload.as_section()
            && !is_native
        {
            kept.push(id);
            push_number(&mut kept, range.end - range.start);
            let Some(section) = wasm.get(bytes(&range)) else {
                return Ok(None);
            };
            kept.extend_from_slice(section);
        }
    }
    Ok(Some(kept))
}

/// Appends an unsigned LEB128 number.
fn push_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// A range of a module that is in memory.
fn bytes(range: &Range<u64>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// The function whose code is at an offset: its name, or its number.
pub(crate) fn function_at(wasm: &[u8], offset: u64) -> Option<String> {
    let mut imported = 0;
    let mut bodies: Vec<Range<u64>> = Vec::new();
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.ok()? {
            Payload::ImportSection(imports) => {
                let is_function = |ty| matches!(ty, TypeRef::Func(_) | TypeRef::FuncExact(_));
                imported = imports
                    .into_imports()
                    .filter(|import| import.as_ref().is_ok_and(|import| is_function(import.ty)))
                    .count();
            }
            Payload::CodeSectionEntry(body) => bodies.push(body.range()),
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(subsections) = section.as_known() {
                    for subsection in subsections.into_iter().flatten() {
                        if let Name::Function(functions) = subsection {
                            names.extend(functions.into_iter().flatten());
                        }
                    }
                }
            }
            _ => {}
        }
    }
    let index = imported + bodies.iter().position(|body| body.contains(&offset))?;
    let name = names.iter().find(|naming| naming.index as usize == index);
    Some(match name {
        Some(naming) => format!("${}", naming.name),
        None => format!("{index} (unnamed)"),
    })
}
