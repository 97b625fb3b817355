/* Asks an exported model by the C library of TensorFlow: no Python, no server.
 *
 *   TF=.../site-packages/tensorflow    # of `pip install tensorflow`
 *   gcc -O2 -I"$TF/include" score.c -o score -L"$TF" -Wl,-rpath,"$TF" -l:libtensorflow_cc.so.2 \
 *     -l:libtensorflow_framework.so.2
 *   ./score out/serving/ranker/1 StatefulPartitionedCall_2:0 < columns.tsv
 *
 * Each line of the input is a column of the signature serving_default, its name and the value of each row, with tabs
 * between; of a list, the values of a row stand with commas between. An empty cell is a missing value, a line of a name
 * alone a column that is missing in every row. All columns have to be there; one value holds for every row. The name of
 * the output is told by `saved_model_cli show --dir FOLDER --tag_set serve --signature_def serving_default`.
 * It prints a line for each row of the output, which has to be float32.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

#define MOST_COLUMNS 256
static TF_Status *status;

static void fail(const char *what, const char *why) {
  fprintf(stderr, "score: %s: %s\n", what, why);
  exit(1);
}

static void check(const char *what) {
  if (TF_GetCode(status) != TF_OK) fail(what, TF_Message(status));
}

/* How many parts a text has between separators; an empty one has none. */
static int64_t parts(const char *text, char separator) {
  int64_t count = *text != '\0';
  for (; *text; text++) count += *text == separator;
  return count;
}

static void put(TF_DataType type, void *data, int64_t place, const char *text) {
  const int is_missing = *text == '\0';
  switch (type) {
    case TF_INT64: ((int64_t *)data)[place] = is_missing ? INT64_MIN : strtoll(text, NULL, 10); break;
    case TF_INT32: ((int32_t *)data)[place] = (int32_t)strtol(text, NULL, 10); break;
    case TF_FLOAT: ((float *)data)[place] = is_missing ? NAN : strtof(text, NULL); break;
    case TF_STRING:
      TF_StringInit((TF_TString *)data + place);
      TF_StringCopy((TF_TString *)data + place, text, strlen(text));
      break;
    default: fail("a column", "is of a type that is not known here");
  }
}

/* The tensor of a column; `cells` is NULL where it is missing in every row. */
static TF_Tensor *column(TF_DataType type, int rank, char *cells) {
  int64_t rows = cells ? 1 : 0, width = rank == 2 ? 0 : 1;
  for (char *c = cells; c && *c; c++) rows += *c == '\t';
  char **cell = calloc(rows + 1, sizeof *cell);
  for (int64_t row = 0; row < rows; row++) {
    cell[row] = strsep(&cells, "\t");
    if (rank == 2 && parts(cell[row], ',') > width) width = parts(cell[row], ',');
  }
  const int64_t shape[2] = {rows, width}, size = rows * width;
  TF_Tensor *tensor = TF_AllocateTensor(type, shape, rank, size * TF_DataTypeSize(type) +
                                        (type == TF_STRING ? size * sizeof(TF_TString) : 0));
  for (int64_t row = 0; row < rows; row++)
    for (int64_t at = 0; at < width; at++) {
      const char *value = rank == 2 ? strsep(&cell[row], ",") : cell[row];
      put(type, TF_TensorData(tensor), row * width + at, value ? value : "");
    }
  free(cell);
  return tensor;
}

int main(int count, char **arguments) {
  if (count != 3) fail("usage", "score FOLDER OUTPUT:INDEX < columns.tsv");
  status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  TF_Session *session =
      TF_LoadSessionFromSavedModel(options, NULL, arguments[1], tags, 1, graph, NULL, status);
  check(arguments[1]);

  TF_Output inputs[MOST_COLUMNS];
  TF_Tensor *given[MOST_COLUMNS];
  int columns = 0;
  char *line = NULL, name[256];
  size_t room = 0;
  for (ssize_t size; (size = getline(&line, &room, stdin)) > 0; columns++) {
    line[strcspn(line, "\n")] = '\0';
    char *cells = line, *own = strsep(&cells, "\t");
    snprintf(name, sizeof name, "serving_default_%s", own);
    TF_Operation *operation = TF_GraphOperationByName(graph, name);
    if (!operation || columns == MOST_COLUMNS) fail(own, "is no column of this model");
    inputs[columns] = (TF_Output){operation, 0};
    int rank = TF_GraphGetTensorNumDims(graph, inputs[columns], status);
    given[columns] = column(TF_OperationOutputType(inputs[columns]), rank, cells);
  }

  const char *index = strchr(arguments[2], ':');
  snprintf(name, sizeof name, "%.*s", (int)strcspn(arguments[2], ":"), arguments[2]);
  TF_Output output = {TF_GraphOperationByName(graph, name), index ? atoi(index + 1) : 0};
  if (!output.oper) fail(arguments[2], "is no output of this model");
  TF_Tensor *found = NULL;
  TF_SessionRun(session, NULL, inputs, given, columns, &output, &found, 1, NULL, 0, NULL, status);
  check(arguments[1]);
  const int64_t rows = TF_NumDims(found) ? TF_Dim(found, 0) : 1;
  const int64_t width = TF_NumDims(found) > 1 ? TF_Dim(found, 1) : 1;
  const float *values = TF_TensorData(found);
  for (int64_t place = 0; place < rows * width; place++)
    printf("%.9g%c", values[place], (place + 1) % width ? '\t' : '\n');
  return 0;
}
