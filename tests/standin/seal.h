// Checksums in an image. A driver is to refuse a damaged image; the loader of the system, which the
// stand-in leaves it to, would run it.
#pragma once
#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace standin {

inline uint32_t checksum(const unsigned char* bytes, size_t count, uint32_t sum) {
    for (size_t i = 0; i < count; i++) sum = (sum ^ bytes[i]) * 16777619u;
    return sum;
}

// Of the header, and of the header and all that follows. They stand where the header of a program
// has the address of its first instruction; an image has none.
inline uint64_t seal_of(const unsigned char* image, size_t bytes) {
    Elf64_Ehdr header;
    memcpy(&header, image, sizeof header);
    header.e_entry = 0;
    const uint32_t first = checksum((const unsigned char*)&header, sizeof header, 2166136261u);
    if (bytes <= sizeof header) return first;
    const uint32_t all = checksum(image + sizeof header, bytes - sizeof header, first);
    return (uint64_t)all << 32 | first;
}

// The size that the header of an image tells; 0 if the header is damaged or no image's.
inline size_t sealed_size(const unsigned char* image) {
    Elf64_Ehdr header;
    memcpy(&header, image, sizeof header);
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return 0;
    if ((uint32_t)header.e_entry != (uint32_t)seal_of(image, sizeof header)) return 0;
    // Linkers put the table of sections last.
    return header.e_shoff + (size_t)header.e_shnum * header.e_shentsize;
}

}  // namespace standin
