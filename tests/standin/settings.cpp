#include "settings.h"

#include <cstdlib>
#include <map>
#include <mutex>
#include <sstream>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace standin {

// Libraries may be asked for settings while they are being loaded: nothing here may be destroyed
// or made in an order that nobody knows.
struct Settings {
    std::mutex mutex;
    std::map<std::string, std::string> values;
    std::map<std::string, long> calls;
    std::map<std::string, long> calls_before;  // when ICPO_STANDIN_FAIL was set
};
static Settings& settings() {
    static Settings* const all = new Settings;
    return *all;
}

static std::string value_of(const char* name, const char* otherwise) {
    const auto found = settings().values.find(name);
    if (found != settings().values.end()) return found->second;
    const char* const value = getenv(name);
    return value ? value : otherwise;
}

std::string setting(const char* name, const char* otherwise) {
    std::lock_guard<std::mutex> lock(settings().mutex);
    return value_of(name, otherwise);
}

// ICPO_STANDIN_FAIL is a list of "entry:call" or "entry:call:code", separated by commas. Calls
// count from 1 and from when the setting was made; 0 means every call.
int called(const char* entry) {
    static const int UNKNOWN = 999;
    Settings& all = settings();
    std::lock_guard<std::mutex> lock(all.mutex);
    const long call = ++all.calls[entry] - all.calls_before[entry];
    std::istringstream rules(value_of("ICPO_STANDIN_FAIL", ""));
    for (std::string rule; std::getline(rules, rule, ',');) {
        std::istringstream fields(rule);
        std::string name, which, code;
        std::getline(fields, name, ':');
        std::getline(fields, which, ':');
        std::getline(fields, code, ':');
        if (name != entry) continue;
        if (atol(which.c_str()) != 0 && atol(which.c_str()) != call) continue;
        return code.empty() ? UNKNOWN : atoi(code.c_str());
    }
    return 0;
}

}  // namespace standin

// Null takes a setting back: the environment's value holds again.
EXPORT void icpo_standin_set(const char* name, const char* value) {
    standin::Settings& all = standin::settings();
    std::lock_guard<std::mutex> lock(all.mutex);
    if (value) all.values[name] = value;
    else all.values.erase(name);
    all.calls_before = all.calls;
}

// How often an entry was called.
EXPORT long icpo_standin_calls(const char* entry) {
    standin::Settings& all = standin::settings();
    std::lock_guard<std::mutex> lock(all.mutex);
    return all.calls[entry];
}
