// Classify an image on a microcontroller with TensorFlow Lite for Microcontrollers: a skeleton, made by `ofa export`.
#include "operations.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/schema/schema_generated.h"

extern const unsigned char subnet[];
alignas(16) static unsigned char arena[kArenaBytes];

// Pixels of a camera, uint8, rows of kSide pixels of kChannels values. Returns the class, or -1.
int Classify(const unsigned char* pixels) {
  static tflite::MicroMutableOpResolver<kOperations> resolver;
  static bool ready = (AddOperations(resolver), true);
  static tflite::MicroInterpreter interpreter(tflite::GetModel(subnet), resolver, arena, kArenaBytes);
  static bool allocated = ready && interpreter.AllocateTensors() == kTfLiteOk;
  if (!allocated) return -1;
  signed char* input = interpreter.input(0)->data.int8;
  for (int i = 0; i < kSide * kSide * kChannels; ++i) input[i] = static_cast<signed char>(pixels[i] - 128);
  if (interpreter.Invoke() != kTfLiteOk) return -1;
  const TfLiteTensor* output = interpreter.output(0);
  int best = 0;
  for (int i = 1; i < output->dims->data[1]; ++i) {
    if (output->data.int8[i] > output->data.int8[best]) best = i;
  }
  return best;
}
