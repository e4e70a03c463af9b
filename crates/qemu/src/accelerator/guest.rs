//! The tiny guest that tries an accelerator: a ROM image in place of the firmware, written here byte by byte.
//!
//! ```text
//! ffff:fff0  16-bit   jump to the start of the ROM (the CPU begins here)
//! ffff:0000  16-bit   protected mode
//!            32-bit   page tables at 1000h…4fffh: the first 2 MiB and the last 2 MiB below 4 GiB; long mode
//!            64-bit   copies the next part into RAM at 10000h and jumps there, as a kernel runs in RAM
//!   10000h   64-bit   CPUID 7: BMI2? then SHLX 1 << 4 must be 16; writes right or wrong to the exit port
//! ```
//!
//! It needs no firmware, no disk and no device but `isa-debug-exit`. All of it runs in ring 0 with interrupts off.
//! It takes nothing from the host, and never returns to it but by the exit port. The main function is [`rom`].

/// Size of the image; QEMU wants whole 64 KiB and maps it up to the end of the first 4 GiB.
const ROM_BYTES: usize = 64 << 10;

/// Where the CPU begins, within the ROM.
const RESET: usize = 0xfff0;

/// Port of `isa-debug-exit`.
pub(super) const EXIT_PORT: u8 = 0xf4;

/// What is written to the port when the result was right; `isa-debug-exit` makes 2n + 1 of it.
const RIGHT: u8 = 0x10;

/// And when it was wrong.
const WRONG: u8 = 0x11;

/// QEMU's exit status when the result was right.
pub(super) const EXIT_STATUS_RIGHT: i32 = (RIGHT as i32) << 1 | 1;

/// At the start of the ROM, which is at 0xffff0000.
#[rustfmt::skip]
const BOOT: [u8; 0xb1] = [
    // 16-bit
    0xfa,                                                       // cli
    0xfc,                                                       // cld
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0x08, 0x01,                   // lgdt cs:[GDT_POINTER]
    0x0f, 0x20, 0xc0,                                           // mov eax, cr0
    0x0c, 0x01,                                                 // or al, 1 (PE)
    0x0f, 0x22, 0xc0,                                           // mov cr0, eax
    0x66, 0xea, 0x19, 0x00, 0xff, 0xff, 0x08, 0x00,             // jmp 8:0xffff0019
    // 0x19: 32-bit
    0x66, 0xb8, 0x10, 0x00,                                     // mov ax, 0x10
    0x8e, 0xd8,                                                 // mov ds, eax
    0x8e, 0xc0,                                                 // mov es, eax
    0x8e, 0xd0,                                                 // mov ss, eax
    0xbc, 0x00, 0x80, 0x00, 0x00,                               // mov esp, 0x8000
    0x31, 0xc0,                                                 // xor eax, eax
    0xbf, 0x00, 0x10, 0x00, 0x00,                               // mov edi, 0x1000
    0xb9, 0x00, 0x10, 0x00, 0x00,                               // mov ecx, 0x1000
    0xf3, 0xab,                                                 // rep stosd
    0xc7, 0x05, 0x00, 0x10, 0x00, 0x00, 0x03, 0x20, 0x00, 0x00, // mov dword [0x1000], 0x2003 (PML4 0)
    0xc7, 0x05, 0x00, 0x20, 0x00, 0x00, 0x03, 0x30, 0x00, 0x00, // mov dword [0x2000], 0x3003 (PDPT 0)
    0xc7, 0x05, 0x18, 0x20, 0x00, 0x00, 0x03, 0x40, 0x00, 0x00, // mov dword [0x2018], 0x4003 (PDPT 3)
    0xc7, 0x05, 0x00, 0x30, 0x00, 0x00, 0x83, 0x00, 0x00, 0x00, // mov dword [0x3000], 0x83 (2 MiB at 0)
    0xc7, 0x05, 0xf8, 0x4f, 0x00, 0x00, 0x83, 0x00, 0xe0, 0xff, // mov dword [0x4ff8], 0xffe00083
    0x0f, 0x20, 0xe0,                                           // mov eax, cr4
    0x83, 0xc8, 0x20,                                           // or eax, 0x20 (PAE)
    0x0f, 0x22, 0xe0,                                           // mov cr4, eax
    0xb8, 0x00, 0x10, 0x00, 0x00,                               // mov eax, 0x1000
    0x0f, 0x22, 0xd8,                                           // mov cr3, eax
    0xb9, 0x80, 0x00, 0x00, 0xc0,                               // mov ecx, 0xc0000080 (EFER)
    0x0f, 0x32,                                                 // rdmsr
    0x0d, 0x00, 0x01, 0x00, 0x00,                               // or eax, 0x100 (LME)
    0x0f, 0x30,                                                 // wrmsr
    0x0f, 0x20, 0xc0,                                           // mov eax, cr0
    0x0d, 0x00, 0x00, 0x00, 0x80,                               // or eax, 0x80000000 (PG)
    0x0f, 0x22, 0xc0,                                           // mov cr0, eax
    0xea, 0x99, 0x00, 0xff, 0xff, 0x18, 0x00,                   // jmp 0x18:0xffff0099
    // 0x99: 64-bit
    0xbe, 0xb1, 0x00, 0xff, 0xff,                               // mov esi, 0xffff0000 + TEST_AT
    0xbf, 0x00, 0x00, 0x01, 0x00,                               // mov edi, 0x10000
    0xb9, TEST.len() as u8, 0x00, 0x00, 0x00,                   // mov ecx, length of TEST
    0xf3, 0xa4,                                                 // rep movsb
    0xb8, 0x00, 0x00, 0x01, 0x00,                               // mov eax, 0x10000
    0xff, 0xe0,                                                 // jmp rax
];

/// Where [`TEST`] is in the ROM.
const TEST_AT: usize = BOOT.len();

/// Runs in RAM.
#[rustfmt::skip]
const TEST: [u8; 0x32] = [
    0xb8, 0x07, 0x00, 0x00, 0x00,                               // mov eax, 7
    0x31, 0xc9,                                                 // xor ecx, ecx
    0x0f, 0xa2,                                                 // cpuid
    0x0f, 0xba, 0xe3, 0x08,                                     // bt ebx, 8 (BMI2)
    0x73, 0x15,                                                 // jnc right
    0xba, 0x01, 0x00, 0x00, 0x00,                               // mov edx, 1
    0xb9, 0x04, 0x00, 0x00, 0x00,                               // mov ecx, 4
    0xc4, 0xe2, 0xf1, 0xf7, 0xc2,                               // shlx rax, rdx, rcx
    0x48, 0x83, 0xf8, 0x10,                                     // cmp rax, 16
    0x75, 0x07,                                                 // jne wrong
    0xb0, RIGHT,                                                // right: mov al, RIGHT
    0xe6, EXIT_PORT,                                            // out EXIT_PORT, al
    0xf4,                                                       // hlt
    0xeb, 0xfd,                                                 // jmp to hlt
    0xb0, WRONG,                                                // wrong: mov al, WRONG
    0xe6, EXIT_PORT,                                            // out EXIT_PORT, al
    0xf4,                                                       // hlt
    0xeb, 0xfd,                                                 // jmp to hlt
];

/// Where the descriptor table is in the ROM.
const GDT_AT: usize = 0xe8;

/// Null, 32-bit code (8), data (0x10), 64-bit code (0x18).
const GDT: [u64; 4] = [0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x00af_9b00_0000_ffff];

/// Limit and address of the descriptor table.
const GDT_POINTER_AT: usize = 0x108;
const GDT_POINTER: [u8; 6] = [0x1f, 0x00, 0xe8, 0x00, 0xff, 0xff];

/// jmp to 0, in 16-bit code whose instruction pointer wraps at 64 KiB.
const RESET_JUMP: [u8; 3] = [0xe9, 0x0d, 0x00];

/// The image.
pub(super) fn rom() -> Vec<u8> {
    let mut rom = vec![0; ROM_BYTES];
    let mut put = |at: usize, bytes: &[u8]| rom[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &BOOT);
    put(TEST_AT, &TEST);
    for (place, entry) in GDT.iter().enumerate() {
        put(GDT_AT + 8 * place, &entry.to_le_bytes());
    }
    put(GDT_POINTER_AT, &GDT_POINTER);
    put(RESET, &RESET_JUMP);
    rom
}
