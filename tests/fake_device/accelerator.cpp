// An accelerator for tests, on a machine without one: torch's spare device type (PrivateUse1), whose
// tensors lie in host memory and are computed by the CPU's kernels through aliases. It keeps CUDA's
// rules: tensors of two devices do not mix, autocast has CUDA's lists, random numbers are its own,
// and memory ends where `limit` says.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/autocast_mode.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/DispatchStub.h>
#include <ATen/native/transformers/attention.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>
#include <torch/extension.h>

#include <atomic>
#include <limits>
#include <map>

namespace {

constexpr auto kDeviceType = c10::DeviceType::PrivateUse1;
const c10::Device kDevice(kDeviceType, 0);
const c10::DispatchKeySet kKeys{c10::DispatchKey::PrivateUse1};

std::atomic<int64_t> in_use{0}, most_in_use{0}, limit{std::numeric_limits<int64_t>::max()};  // bytes

void take(size_t bytes) {
  const int64_t wanted = static_cast<int64_t>(bytes);
  if (in_use + wanted > limit)
    TORCH_CHECK_WITH(OutOfMemoryError, false, "fake out of memory. Tried to allocate ", bytes, " bytes; ",
                     in_use.load(), " of ", limit.load(), " bytes are in use.");
  in_use += wanted;
  most_in_use = std::max(most_in_use.load(), in_use.load());
}

// ---- memory -------------------------------------------------------------------------------------
struct Block {
  void* data;
  size_t bytes;
};
struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    take(bytes);
    void* data = bytes ? c10::alloc_cpu(bytes) : nullptr;
    return {data, new Block{data, bytes}, &release, kDevice};
  }
  static void release(void* context) {
    auto* block = static_cast<Block*>(context);
    if (block->data) c10::free_cpu(block->data);
    in_use -= static_cast<int64_t>(block->bytes);
    delete block;
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t bytes) const final { default_copy_data(to, from, bytes); }
};
Memory memory;
REGISTER_ALLOCATOR(kDeviceType, &memory);

// ---- device -------------------------------------------------------------------------------------
struct Guard final : c10::impl::DeviceGuardImplInterface {
  static constexpr c10::DeviceType static_type = kDeviceType;
  Guard() = default;
  explicit Guard(c10::DeviceType) {}
  c10::DeviceType type() const override { return kDeviceType; }
  c10::Device exchangeDevice(c10::Device) const override { return kDevice; }
  c10::Device getDevice() const override { return kDevice; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override { return c10::Stream(c10::Stream::DEFAULT, kDevice); }
  c10::Stream getDefaultStream(c10::Device) const override { return c10::Stream(c10::Stream::DEFAULT, kDevice); }
  c10::Stream getNewStream(c10::Device, int) const override { return c10::Stream(c10::Stream::DEFAULT, kDevice); }
  c10::Stream exchangeStream(c10::Stream) const override { return c10::Stream(c10::Stream::DEFAULT, kDevice); }
  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(c10::DeviceIndex) const override {}
  void recordDataPtrOnStream(const c10::DataPtr&, const c10::Stream&) const override {}
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

at::Generator& generator() {  // the device's own stream of random numbers
  static at::Generator own = at::detail::createCPUGenerator(c10::default_rng_seed_val);
  return own;
}

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override { return generator(); }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return at::detail::createCPUGenerator(); }
  at::Device getDeviceFromPtr(void*) const override { return kDevice; }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t bytes) const override {
    auto fresh = memory.allocate(bytes);
    std::memcpy(fresh.get(), storage.data(), std::min(bytes, storage.nbytes()));
    storage.set_data_ptr_noswap(std::move(fresh));
    const_cast<c10::Storage&>(storage).set_nbytes(bytes);
  }
};
struct RegisterHooks {
  RegisterHooks() { at::RegisterPrivateUse1HooksInterface(new Hooks); }
} register_hooks;

// ---- aliases ------------------------------------------------------------------------------------
at::Tensor on_cpu(const at::Tensor& fake) {  // the same memory as a CPU tensor
  auto& storage = fake.storage();
  c10::Storage host(
      c10::Storage::use_byte_size_t(), storage.nbytes(),
      c10::DataPtr(storage.mutable_data(), c10::Device(c10::kCPU)), c10::GetAllocator(c10::kCPU), true);
  auto found = at::detail::make_tensor<c10::TensorImpl>(
      std::move(host), c10::DispatchKeySet(c10::DispatchKey::CPU), fake.dtype());
  auto* impl = found.unsafeGetTensorImpl();
  impl->set_sizes_and_strides(fake.sizes(), fake.strides(), fake.storage_offset());
  if (fake.unsafeGetTensorImpl()->is_wrapped_number()) impl->set_wrapped_number(true);
  return found;
}

struct Held {
  at::Tensor host;
  size_t bytes;
};
c10::DataPtr holding(const at::Tensor& host) {  // host's memory, kept alive, as the device's
  const size_t bytes = host.storage().nbytes();
  take(bytes);
  return {host.storage().mutable_data(), new Held{host, bytes},
          [](void* context) {
            auto* held = static_cast<Held*>(context);
            in_use -= static_cast<int64_t>(held->bytes);
            delete held;
          },
          kDevice};
}

at::Tensor with_storage(c10::Storage storage, const at::Tensor& like) {
  auto found = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), kKeys, like.dtype());
  found.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  return found;
}

at::Tensor on_device(const at::Tensor& host) {
  c10::Storage storage(
      c10::Storage::use_byte_size_t(), host.storage().nbytes(), holding(host), &memory, true);
  return with_storage(std::move(storage), host);
}

at::Tensor view_of(const at::Tensor& base, const at::Tensor& like) {
  auto found = at::detail::make_tensor<c10::TensorImpl>(
      c10::TensorImpl::VIEW, c10::Storage(base.storage()), base.key_set(), base.dtype());
  found.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  return found;
}

struct Aliases {
  std::map<const c10::StorageImpl*, at::Tensor> original;  // by storage of the alias
  at::Tensor of(const at::Tensor& t) {
    if (!t.defined() || t.device().type() != kDeviceType) return t;
    auto host = on_cpu(t);
    original[host.storage().unsafeGetStorageImpl()] = t;
    return host;
  }
  at::Tensor back(const at::Tensor& host) {
    if (!host.defined()) return host;
    auto found = original.find(host.storage().unsafeGetStorageImpl());
    if (found != original.end() && host.storage().data() == found->second.storage().data())
      return view_of(found->second, host);
    return on_device(host);
  }
};

// ---- what CUDA refuses --------------------------------------------------------------------------
bool is_index(const std::string& name) {
  return name == "aten::index" || name == "aten::index_put" || name == "aten::index_put_" ||
      name == "aten::_index_put_impl_" || name == "aten::_unsafe_index";
}

void check(const std::string& name, const at::Tensor& t, bool written, bool listed, size_t position,
           bool self_is_fake) {
  if (!t.defined() || t.device().type() == kDeviceType) return;
  if (is_index(name) && self_is_fake && position == 1) return;  // CPU indices of device tensors
  if (t.dim() == 0 && !written && !listed) return;
  if (is_index(name) && !self_is_fake)
    TORCH_CHECK(false, "indices should be either on cpu or on the same device as the indexed tensor (",
                t.device(), ") [", name, "]");
  TORCH_CHECK(false, "Expected all tensors to be on the same device, but found at least two devices, fake:0 and ",
              t.device(), "! [", name, ", argument ", position, "]");
}

// ---- every operator -----------------------------------------------------------------------------
void by_the_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const std::string& name = schema.operator_name().name;
  const auto& arguments = schema.arguments();
  const size_t count = arguments.size(), first = stack->size() - count;
  std::vector<c10::IValue> before(stack->begin() + first, stack->end());
  bool self_is_fake = count > 0 && before[0].isTensor() && before[0].toTensor().defined() &&
      before[0].toTensor().device().type() == kDeviceType;
  Aliases aliases;
  bool takes_generator = false;
  std::vector<std::pair<at::Tensor, at::Tensor>> written;  // original, alias
  for (size_t i = 0; i < count; i++) {
    const bool writes = arguments[i].alias_info() && arguments[i].alias_info()->isWrite();
    auto& value = (*stack)[first + i];
    if (value.isTensor()) {
      auto t = before[i].toTensor();
      check(name, t, writes, false, i, self_is_fake);
      auto host = aliases.of(t);
      if (writes && t.defined() && t.device().type() == kDeviceType) written.emplace_back(t, host);
      value = host;
    } else if (value.isTensorList()) {
      std::vector<at::Tensor> hosts;
      for (const at::Tensor& t : before[i].toTensorVector()) {
        check(name, t, writes, true, i, self_is_fake);
        hosts.push_back(aliases.of(t));
        if (writes && t.defined() && t.device().type() == kDeviceType) written.emplace_back(t, hosts.back());
      }
      value = hosts;
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> hosts;
      for (std::optional<at::Tensor> t : before[i].toOptionalTensorList()) {
        if (t) check(name, *t, writes, true, i, self_is_fake);
        hosts.push_back(t ? std::optional<at::Tensor>(aliases.of(*t)) : t);
      }
      value = hosts;
    } else if (value.isDevice()) {
      value = c10::Device(c10::kCPU);
    } else if (value.isGenerator()) {
      auto given = value.toGenerator();
      if (given.defined() && given != generator())
        TORCH_CHECK(false, "Expected a 'fake' device type for generator but found 'cpu' [", name, "]");
    } else if (value.isNone()) {
      auto type = arguments[i].type();
      if (auto optional = type->cast<c10::OptionalType>(); optional &&
          optional->getElementType()->kind() == c10::TypeKind::GeneratorType) {
        value = generator();
        takes_generator = true;
      }
    }
  }
  const bool draws = !takes_generator && op.hasTag(at::Tag::nondeterministic_seeded);
  at::Tensor host_state;
  at::Generator host = at::detail::getDefaultCPUGenerator();
  if (draws) {  // from the device's own numbers, not the CPU's
    host_state = host.get_state();
    host.set_state(generator().get_state());
  }
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  if (draws) {
    generator().set_state(host.get_state());
    host.set_state(host_state);
  }
  for (auto& [original, host] : written) {  // resized outputs
    if (host.storage().data() != original.storage().data()) {
      original.storage().set_data_ptr_noswap(holding(host));
      const_cast<c10::Storage&>(original.storage()).set_nbytes(host.storage().nbytes());
    }
    if (host.sizes() != original.sizes() || host.strides() != original.strides() ||
        host.storage_offset() != original.storage_offset())
      original.unsafeGetTensorImpl()->set_sizes_and_strides(host.sizes(), host.strides(), host.storage_offset());
  }
  const auto& returns = schema.returns();
  const size_t start = stack->size() - returns.size();
  for (size_t r = 0; r < returns.size(); r++) {
    auto& value = (*stack)[start + r];
    const auto* alias = returns[r].alias_info();
    if (alias && alias->isWrite()) {  // what was written is what comes back
      for (size_t i = 0; i < count; i++)
        if (arguments[i].alias_info() && *arguments[i].alias_info() == *alias) value = before[i];
    } else if (value.isTensor()) {
      value = aliases.back(value.toTensor());
    } else if (value.isTensorList()) {
      std::vector<at::Tensor> found;
      for (const at::Tensor& t : value.toTensorVector()) found.push_back(aliases.back(t));
      value = found;
    }
  }
}

// ---- the operators that make and move memory ----------------------------------------------------
at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                 std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &memory, kKeys, at::dtype_or_default(dtype), format);
}
at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> dtype,
                         std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &memory, kKeys, at::dtype_or_default(dtype));
}
at::Tensor real_zeros(at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                      std::optional<at::Device>, std::optional<bool>) {
  return empty(size, dtype, {}, {}, {}, {}).zero_();
}
at::Tensor copy_from(const at::Tensor& self, const at::Tensor& out, bool) {
  Aliases aliases;
  aliases.of(out).copy_(aliases.of(self));
  return out;
}
at::Tensor copy_from_and_resize(const at::Tensor& self, const at::Tensor& out) {
  out.resize_(self.sizes());
  return copy_from(self, out, false);
}
at::Scalar local_scalar(const at::Tensor& self) {
  return on_cpu(self).item();
}
at::Tensor& set_storage(at::Tensor& self, at::Storage storage, int64_t offset, at::IntArrayRef size,
                        at::IntArrayRef stride) {
  std::vector<int64_t> strides(stride.begin(), stride.end());
  if (strides.size() != size.size()) {
    strides.assign(size.size(), 1);
    for (int64_t i = static_cast<int64_t>(size.size()) - 2; i >= 0; i--) strides[i] = strides[i + 1] * std::max<int64_t>(size[i + 1], 1);
  }
  self.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(storage));
  self.unsafeGetTensorImpl()->set_sizes_and_strides(size, strides, offset);
  return self;
}
at::Tensor& set_whole(at::Tensor& self, at::Storage storage) {
  int64_t length = static_cast<int64_t>(storage.nbytes() / self.itemsize());
  return set_storage(self, std::move(storage), 0, {length}, {1});
}
at::Tensor& set_tensor(at::Tensor& self, const at::Tensor& source) {
  return set_storage(self, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}
int64_t plain_attention(const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                        double, bool, std::optional<double>, bool) {
  return 0;  // sdp::SDPBackend::math
}

using Boxed = torch::CppFunction;
TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(Boxed::makeFromBoxedFunction<&by_the_cpu>()); }
TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("_efficientzerotensor", &real_zeros);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("_local_scalar_dense", &local_scalar);
  m.impl("set_.source_Storage", &set_whole);
  m.impl("set_.source_Storage_storage_offset", &set_storage);
  m.impl("set_.source_Tensor", &set_tensor);
  m.impl("_fused_sdp_choice", &plain_attention);
  for (const char* name : {"convolution", "convolution_backward", "_cdist_forward"})
    m.impl(name, Boxed::makeFromBoxedFunction<&by_the_cpu>());
}

// ---- autocast as on CUDA ------------------------------------------------------------------------
TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, m) { m.fallback(Boxed::makeFallthrough()); }
#define LOWER(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, lower_precision_fp)
#define FULL(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, fp32)
#define TYPED(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, fp32_set_opt_dtype)
#define WIDEST(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, promote)
at::Tensor banned(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, int64_t) {
  TORCH_CHECK(false, "torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to autocast.");
}
TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
  AT_FORALL_LOWER_PRECISION_FP(LOWER)
  AT_FORALL_FP32(FULL)
  AT_FORALL_FP32_SET_OPT_DTYPE(TYPED)
  AT_FORALL_PROMOTE(WIDEST)
  m.impl("binary_cross_entropy", &banned);
}

}  // namespace

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(_fused_sdp_choice_stub, &plain_attention);
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("seed", [](uint64_t seed) { generator().set_current_seed(seed); });
  m.def("rng_state", [] { return generator().get_state(); });
  m.def("set_rng_state", [](const at::Tensor& state) { generator().set_state(state); });
  m.def("memory_allocated", [] { return in_use.load(); });
  m.def("max_memory_allocated", [] { return most_in_use.load(); });
  m.def("reset_peak_memory_stats", [] { most_in_use = in_use.load(); });
  m.def("limit_memory", [](int64_t bytes) { limit = bytes < 0 ? std::numeric_limits<int64_t>::max() : bytes; });
}
