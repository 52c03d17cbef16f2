#include "cpu/row_source.h"

#include <map>
#include <mutex>

namespace spikexla {
namespace {

// A number is never given twice, so a stale one finds nothing.
template <class T>
struct Lent {
  std::mutex mutex;
  std::map<uint64_t, std::weak_ptr<const RowSource<T>>> sources;
  uint64_t last = 0;
};

template <class T>
Lent<T>& lent() {
  static Lent<T> all;
  return all;
}

}  // namespace

template <class T>
uint64_t lend(const std::shared_ptr<const RowSource<T>>& source) {
  Lent<T>& all = lent<T>();
  const std::lock_guard<std::mutex> lock(all.mutex);
  for (auto at = all.sources.begin(); at != all.sources.end();)
    at = at->second.expired() ? all.sources.erase(at) : std::next(at);
  all.sources[++all.last] = source;
  return all.last;
}

template <class T>
std::shared_ptr<const RowSource<T>> borrow(uint64_t number) {
  Lent<T>& all = lent<T>();
  const std::lock_guard<std::mutex> lock(all.mutex);
  const auto at = all.sources.find(number);
  return at == all.sources.end() ? nullptr : at->second.lock();
}

template uint64_t lend(const std::shared_ptr<const RowSource<float>>&);
template uint64_t lend(const std::shared_ptr<const RowSource<double>>&);
template std::shared_ptr<const RowSource<float>> borrow(uint64_t);
template std::shared_ptr<const RowSource<double>> borrow(uint64_t);

}  // namespace spikexla
