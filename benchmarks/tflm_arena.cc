// Prints what models need of TensorFlow Lite Micro's arena, in bytes: of feature maps, of data that stay, of both as the
// interpreter counts them, of the smallest arena. Built for a processor of 32 bits, it tells what a microcontroller needs; the
// Python package tflite-micro has 64 bits. As built for tests/golden/tflm_memory.json: tensorflow/tflite-micro at 90b983c,
// google/flatbuffers 25.9.23, google/gemmlowp and google/ruy in one folder, ziglang 0.17.1 from PyPI,
//   python -m ziglang c++ -target x86-linux-musl -O1 -std=c++17 -fno-rtti -fno-exceptions -DTF_LITE_STATIC_MEMORY
//     -DFLATBUFFERS_LOCALE_INDEPENDENT=0 -DTF_LITE_STRIP_ERROR_STRINGS -w -I.
// with the sources of tensorflow/lite/{core,kernels/internal,schema} and of tensorflow/lite/micro with its folders
// arena_allocator, memory_planner, tflite_bridge and, of kernels, the operations below.
#include <cstdio>
#include <cstdlib>

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/recording_micro_allocator.h"
#include "tensorflow/lite/micro/recording_micro_interpreter.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

constexpr size_t kAlignment = 16;
constexpr size_t kLargest = 64u << 20;
using Resolver = tflite::MicroMutableOpResolver<16>;

void AddOperations(Resolver& resolver) {
  resolver.AddAdd();
  resolver.AddAveragePool2D();
  resolver.AddConv2D();
  resolver.AddDepthwiseConv2D();
  resolver.AddFullyConnected();
  resolver.AddHardSwish();
  resolver.AddLogistic();
  resolver.AddMaxPool2D();
  resolver.AddMean();
  resolver.AddMul();
  resolver.AddPad();
  resolver.AddPadV2();
  resolver.AddSum();
}

// Bytes used of an arena; 0 if it is too small.
size_t Used(const tflite::Model* model, const Resolver& resolver, uint8_t* arena, size_t size) {
  tflite::MicroInterpreter interpreter(model, resolver, arena, size);
  return interpreter.AllocateTensors() == kTfLiteOk ? interpreter.arena_used_bytes() : 0;
}

void* Read(const char* path) {
  FILE* file = fopen(path, "rb");
  fseek(file, 0, SEEK_END);
  const size_t size = ftell(file);
  rewind(file);
  void* content = aligned_alloc(kAlignment, (size + kAlignment - 1) / kAlignment * kAlignment);
  const size_t read = fread(content, 1, size, file);
  fclose(file);
  return read == size ? content : nullptr;
}

}  // namespace

int main(int count, char** paths) {
  Resolver resolver;
  AddOperations(resolver);
  uint8_t* arena = static_cast<uint8_t*>(aligned_alloc(kAlignment, kLargest));
  for (int i = 1; i < count; ++i) {
    const tflite::Model* model = tflite::GetModel(Read(paths[i]));
    size_t head, tail;
    {
      auto* allocator = tflite::RecordingMicroAllocator::Create(arena, kLargest);
      tflite::RecordingMicroInterpreter interpreter(model, resolver, allocator, nullptr, nullptr);
      if (interpreter.AllocateTensors() != kTfLiteOk) return 1;
      head = allocator->GetSimpleMemoryAllocator()->GetNonPersistentUsedBytes();
      tail = allocator->GetSimpleMemoryAllocator()->GetPersistentUsedBytes();
    }
    // Kernels do not notice an arena that is much too small, and crash: start above what is needed.
    const size_t planning = 80 * model->subgraphs()->Get(0)->tensors()->size() + 2048;
    size_t smallest = (tail + (head > planning ? head : planning)) / kAlignment * kAlignment + 2 * kAlignment;
    while (Used(model, resolver, arena, smallest - kAlignment) != 0) smallest -= kAlignment;
    printf("%s %zu %zu %zu %zu\n", paths[i], head, tail, Used(model, resolver, arena, kLargest), smallest);
  }
  return 0;
}
