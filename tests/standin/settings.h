// What tests set: environment variables, or, within a process, `icpo_standin_set`.
#pragma once
#include <string>

namespace standin {

// The value of a setting, or the other one if it has none.
std::string setting(const char* name, const char* otherwise);

// To be called first in every entry of a library: counts it, and says which error the entry must
// return because ICPO_STANDIN_FAIL says so; 0 if none.
int called(const char* entry);

}  // namespace standin
