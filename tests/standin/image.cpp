#include "image.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "cluster.h"
#include "errors.h"
#include "seal.h"

namespace standin {

static bool write_all(int file, const char* bytes, size_t count) {
    while (count) {
        const ssize_t written = write(file, bytes, count);
        if (written <= 0) return false;
        bytes += written;
        count -= (size_t)written;
    }
    return true;
}

int load_image(const void* bytes, LoadedImage& loaded) {
    const unsigned char* const image = (const unsigned char*)bytes;
    const size_t size = sealed_size(image);
    if (size == 0) return INVALID_IMAGE;
    Elf64_Ehdr header;
    memcpy(&header, image, sizeof header);
    if (header.e_entry != seal_of(image, size)) return INVALID_IMAGE;
    loaded.file = memfd_create("standin-image", MFD_CLOEXEC);
    if (loaded.file < 0 || !write_all(loaded.file, (const char*)bytes, size)) {
        perror("stand-in driver: an image can not be written to memory");
        unload_image(loaded);
        return INVALID_IMAGE;
    }
    // The file stays open: under its name the loader would take another image for this one.
    const std::string path = "/proc/self/fd/" + std::to_string(loaded.file);
    loaded.library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!loaded.library) {
        fprintf(stderr, "stand-in driver: an image can not be loaded: %s\n", dlerror());
        unload_image(loaded);
        return INVALID_IMAGE;
    }
    loaded.image = (const Image*)dlsym(loaded.library, "standin_image");
    if (!loaded.image || strcmp(loaded.image->sources, STANDIN_SOURCES) != 0) {
        fprintf(stderr, "stand-in driver: an image of another stand-in compiler\n");
        unload_image(loaded);
        return INVALID_IMAGE;
    }
    loaded.image->connect(&machine);
    return SUCCESS;
}

void unload_image(LoadedImage& loaded) {
    if (loaded.library) dlclose(loaded.library);
    if (loaded.file >= 0) close(loaded.file);
    loaded = LoadedImage();
}

const Kernel* find_kernel(const LoadedImage& loaded, const char* name) {
    const std::string symbol = std::string("standin_kernel_") + name;
    return (const Kernel*)dlsym(loaded.library, symbol.c_str());
}

}  // namespace standin
