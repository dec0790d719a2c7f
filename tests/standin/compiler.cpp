// NVRTC without CUDA: the entries of libnvrtc.so that src/cuda/ calls. A program is compiled for the
// CPU by the C++ compiler of the machine, over emulated.h; the shared object plays the cubin.
#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "seal.h"
#include "settings.h"

using namespace standin;

#define ENTRY extern "C" __attribute__((visibility("default"))) int

enum {
    SUCCESS = 0,
    INVALID_INPUT = 3,
    INVALID_PROGRAM = 4,
    INVALID_OPTION = 5,
    COMPILATION = 6,
};

struct Program {
    std::string name;
    std::string source;
    std::map<std::string, std::string> headers;
    std::string log;
    std::string image;
};

extern char** environ;

namespace {

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

// A folder that goes away with all files in it.
struct Folder {
    char path[64] = "/tmp/standin-XXXXXX";
    bool made = mkdtemp(path) != nullptr;
    std::string operator/(const std::string& name) const { return std::string(path) + "/" + name; }
    ~Folder() {
        if (!made) return;
        if (DIR* const folder = opendir(path)) {
            while (const dirent* const entry = readdir(folder)) {
                unlink((*this / entry->d_name).c_str());
            }
            closedir(folder);
        }
        rmdir(path);
    }
};

// What the options of NVRTC mean here.
struct Options {
    unsigned architecture = 0;
    std::vector<std::string> flags;
    std::string unknown;
};

bool starts(const std::string& text, const char* with) { return text.rfind(with, 0) == 0; }

Options read_options(int count, const char* const* given) {
    Options options;
    for (int i = 0; i < count; i++) {
        const std::string option = given[i];
        const std::string value = option.substr(option.find('=') + 1);
        if (starts(option, "--gpu-architecture=") || starts(option, "-arch=")) {
            if (starts(value, "sm_")) options.architecture = (unsigned)atoi(value.c_str() + 3);
        } else if (starts(option, "-D")) {
            options.flags.push_back(option);
        } else if (starts(option, "--define-macro=")) {
            options.flags.push_back("-D" + value);
        } else if (option == "--std=c++17" || option == "-std=c++17") {
            options.flags.push_back("-std=c++17");
        } else if (option != "-default-device" && option != "--device-as-default-execution-space" &&
                   option != "-lineinfo" && option != "--generate-line-info" &&
                   !starts(option, "--ptxas-options=") && !starts(option, "--fmad=")) {
            options.unknown += "nvrtc: error: unrecognized option " + option + " found\n";
        }
    }
    return options;
}

std::vector<std::string> words(const std::string& text) {
    std::istringstream stream(text);
    return {std::istream_iterator<std::string>(stream), std::istream_iterator<std::string>()};
}

// Contraction to fused multiply-adds is what NVRTC does, too. Aliasing: kernels look at shared memory
// through pointers of several types. Everything but what the driver looks for stays inside the image.
std::vector<std::string> command(const Options& options, const Folder& folder) {
    std::vector<std::string> all = words(setting("ICPO_STANDIN_CXX", STANDIN_CXX));
    const std::vector<std::string> fixed = {
        "-x", "c++", "-O2", "-g1", "-shared", "-fPIC", "-fvisibility=hidden",
        "-fno-strict-aliasing", "-fno-exceptions", "-fno-rtti", "-fno-math-errno", "-w",
        "-ffp-contract=fast", "-DICPO_EMULATED",
        "-DSTANDIN_SOURCES=\"" STANDIN_SOURCES "\"",
        "-D__CUDA_ARCH__=" + std::to_string(options.architecture * 10),
        "-I" STANDIN_FOLDER, std::string("-I") + folder.path,
    };
    all.insert(all.end(), fixed.begin(), fixed.end());
#ifdef __x86_64__
    if (__builtin_cpu_supports("fma")) all.push_back("-mfma");
#endif
    all.insert(all.end(), options.flags.begin(), options.flags.end());
    for (const std::string& flag : words(setting("ICPO_STANDIN_CXXFLAGS", ""))) all.push_back(flag);
    all.push_back(folder / "program.cu");
    all.push_back("-o");
    all.push_back(folder / "image");
    return all;
}

// Runs a command with its output in a file; whether it succeeded. A sanitizer's library that is
// loaded into this process is none of the compiler's business.
bool run(const std::vector<std::string>& command, const std::string& output) {
    std::vector<char*> arguments, environment;
    for (const std::string& word : command) arguments.push_back((char*)word.c_str());
    arguments.push_back(nullptr);
    for (char** entry = environ; *entry; entry++) {
        if (!starts(*entry, "LD_PRELOAD=")) environment.push_back(*entry);
    }
    environment.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    pid_t child;
    const int failed = posix_spawnp(&child, arguments[0], &files, nullptr, arguments.data(),
                                    environment.data());
    posix_spawn_file_actions_destroy(&files);
    if (failed) {
        std::ofstream(output) << arguments[0] << ": " << strerror(failed) << "\n";
        return false;
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// ICPO_STANDIN_MUTATION is "file|old text|new text", or has the character 31 in place of the bars:
// a fault planted in a file, if the program has it. What is wrong with the setting, or nothing.
std::string mutate(Program& program) {
    const std::string mutation = setting("ICPO_STANDIN_MUTATION", "");
    if (mutation.empty()) return "";
    const char bar = mutation.find('\x1f') == std::string::npos ? '|' : '\x1f';
    const size_t first = mutation.find(bar), second = mutation.find(bar, first + 1);
    if (first == std::string::npos || second == std::string::npos) {
        return "ICPO_STANDIN_MUTATION: expected file|old text|new text\n";
    }
    const std::string file = mutation.substr(0, first);
    const std::string before = mutation.substr(first + 1, second - first - 1);
    const std::string after = mutation.substr(second + 1);
    std::string* text = program.headers.count(file) ? &program.headers[file] : nullptr;
    if (file == program.name) text = &program.source;
    if (!text) return "";
    const size_t place = text->find(before);
    if (place == std::string::npos || text->find(before, place + 1) != std::string::npos) {
        return "ICPO_STANDIN_MUTATION: " + file + " must hold the old text once: " + before + "\n";
    }
    text->replace(place, before.size(), after);
    return "";
}

}  // namespace

ENTRY nvrtcVersion(int* major, int* minor) {
    if (const int code = called(__func__)) return code;
    *major = 13;
    *minor = 0;
    return SUCCESS;
}

extern "C" __attribute__((visibility("default"))) const char* nvrtcGetErrorString(int code) {
    switch (code) {
        case SUCCESS: return "NVRTC_SUCCESS";
        case 1: return "NVRTC_ERROR_OUT_OF_MEMORY";
        case 2: return "NVRTC_ERROR_PROGRAM_CREATION_FAILURE";
        case INVALID_INPUT: return "NVRTC_ERROR_INVALID_INPUT";
        case INVALID_PROGRAM: return "NVRTC_ERROR_INVALID_PROGRAM";
        case INVALID_OPTION: return "NVRTC_ERROR_INVALID_OPTION";
        case COMPILATION: return "NVRTC_ERROR_COMPILATION";
        default: return "NVRTC_ERROR unknown";
    }
}

ENTRY nvrtcCreateProgram(Program** program, const char* source, const char* name, int headers,
                         const char* const* header_sources, const char* const* header_names) {
    if (const int code = called(__func__)) return code;
    if (!program || !source) return INVALID_INPUT;
    *program = new Program;
    (*program)->source = source;
    (*program)->name = name ? name : "default_program";
    for (int i = 0; i < headers; i++) (*program)->headers[header_names[i]] = header_sources[i];
    return SUCCESS;
}

ENTRY nvrtcCompileProgram(Program* program, int count, const char* const* given) {
    if (const int code = called(__func__)) return code;
    if (!program) return INVALID_PROGRAM;
    const Options options = read_options(count, given);
    program->log = options.unknown;
    if (!options.architecture) program->log += "nvrtc: error: --gpu-architecture=sm_NN is missing\n";
    if (!program->log.empty()) return INVALID_OPTION;
    program->log = mutate(*program);
    if (setting("ICPO_STANDIN_COMPILE_FAIL", "") == "1") {
        program->log = program->name + "(1): error: ICPO_STANDIN_COMPILE_FAIL\n";
    }
    if (!program->log.empty()) return COMPILATION;
    const Folder folder;
    if (!folder.made) {
        program->log = "a temporary folder can not be made\n";
        return COMPILATION;
    }
    for (const auto& header : program->headers) {
        std::ofstream(folder / header.first) << header.second;
    }
    std::ofstream(folder / "program.cu") << "#line 1 \"" << program->name << "\"\n"
                                         << program->source;
    const bool compiled = run(command(options, folder), folder / "log");
    program->log = read_file(folder / "log");
    if (!compiled) return COMPILATION;
    program->image = read_file(folder / "image");
    const uint64_t seal =
        seal_of((const unsigned char*)program->image.data(), program->image.size());
    memcpy(&program->image[offsetof(Elf64_Ehdr, e_entry)], &seal, sizeof seal);
    if (sealed_size((const unsigned char*)program->image.data()) != program->image.size()) {
        program->log += "the linker does not put the table of sections last\n";
        return COMPILATION;
    }
    return SUCCESS;
}

ENTRY nvrtcGetProgramLogSize(Program* program, size_t* bytes) {
    if (const int code = called(__func__)) return code;
    if (!program) return INVALID_PROGRAM;
    *bytes = program->log.size() + 1;
    return SUCCESS;
}

ENTRY nvrtcGetProgramLog(Program* program, char* log) {
    if (const int code = called(__func__)) return code;
    if (!program) return INVALID_PROGRAM;
    memcpy(log, program->log.c_str(), program->log.size() + 1);
    return SUCCESS;
}

ENTRY nvrtcGetCUBINSize(Program* program, size_t* bytes) {
    if (const int code = called(__func__)) return code;
    if (!program) return INVALID_PROGRAM;
    *bytes = program->image.size();
    return SUCCESS;
}

ENTRY nvrtcGetCUBIN(Program* program, char* image) {
    if (const int code = called(__func__)) return code;
    if (!program) return INVALID_PROGRAM;
    memcpy(image, program->image.data(), program->image.size());
    return SUCCESS;
}

ENTRY nvrtcDestroyProgram(Program** program) {
    if (const int code = called(__func__)) return code;
    if (!program || !*program) return INVALID_PROGRAM;
    delete *program;
    *program = nullptr;
    return SUCCESS;
}
