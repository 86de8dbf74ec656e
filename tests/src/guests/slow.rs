//! A valid module that an optimising compiler needs minutes for.
//!
//! Each function keeps many variables alive across many jumps into one loop, so that register
//! allocation has to carry all of them along every edge: the work grows with their product, while
//! the file grows with their sum.

use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection, Instruction,
    MemorySection, MemoryType, Module, TypeSection, ValType,
};

const FUNCTIONS: u32 = 400;
const VARIABLES: u32 = 300;
const BLOCKS: u32 = 400;

/// The module. Its `_start` calls none of the slow functions.
pub fn module() -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().function([ValType::I32], [ValType::I64]);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut code = CodeSection::new();
    code.function(&empty());
    for seed in 0..FUNCTIONS {
        functions.function(1);
        code.function(&tangled(seed));
    }
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    exports.export("_start", ExportKind::Func, 0);
    let mut module = Module::new();
    module
        .section(&types)
        .section(&functions)
        .section(&memories)
        .section(&exports)
        .section(&code);
    module.finish()
}

fn empty() -> Function {
    let mut function = Function::new([]);
    function.instruction(&Instruction::End);
    function
}

/// A loop over a jump table; every block changes two variables and goes back to the table.
fn tangled(seed: u32) -> Function {
    let mut function = Function::new([(VARIABLES, ValType::I64)]);
    let variable = |number: u32| 1 + (number % VARIABLES);
    function.instruction(&Instruction::Loop(BlockType::Empty));
    for _ in 0..=BLOCKS {
        function.instruction(&Instruction::Block(BlockType::Empty));
    }
    function.instruction(&Instruction::LocalGet(0));
    function.instruction(&Instruction::I32Const(BLOCKS as i32));
    function.instruction(&Instruction::I32RemU);
    function.instruction(&Instruction::BrTable(
        (0..BLOCKS).collect::<Vec<_>>().into(),
        BLOCKS,
    ));
    for block in 0..BLOCKS {
        function.instruction(&Instruction::End);
        let number = block.wrapping_mul(7).wrapping_add(seed);
        function.instruction(&Instruction::LocalGet(variable(number)));
        function.instruction(&Instruction::LocalGet(variable(number + 11)));
        function.instruction(&Instruction::I64Add);
        function.instruction(&Instruction::LocalSet(variable(number + 23)));
        function.instruction(&Instruction::LocalGet(0));
        function.instruction(&Instruction::I32Const(1 + (number % 13) as i32));
        function.instruction(&Instruction::I32Sub);
        function.instruction(&Instruction::LocalTee(0));
        // Depth 0 is the next block's end, the last one the loop.
        function.instruction(&Instruction::BrIf(BLOCKS - block));
    }
    function.instruction(&Instruction::End);
    function.instruction(&Instruction::End);
    sum(&mut function);
    function.instruction(&Instruction::End);
    function
}

fn sum(function: &mut Function) {
    function.instruction(&Instruction::LocalGet(1));
    for number in 2..=VARIABLES {
        function.instruction(&Instruction::LocalGet(number));
        function.instruction(&Instruction::I64Add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_well_formed_and_below_30_megabytes() {
        let module = module();
        assert!(module.len() < 30 << 20, "{} bytes", module.len());
        wasmparser::Validator::new().validate_all(&module).unwrap();
    }
}
