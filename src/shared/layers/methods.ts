/** The methods of a file system, all of which go one way. */
import { OPERATION_NAMES } from './operation-table.ts';
import type { FsRequest, OperationName } from './types.ts';

/** Has run() and a method for each operation: a FileSystem where call() answers as one. */
export abstract class Methods {
  /** @param request of this operation, whatever its own `operation` says */
  protected abstract call(operation: OperationName, request: FsRequest): unknown;

  run(request: FsRequest): unknown {
    return this.call(request.operation, request);
  }
}

for (const operation of OPERATION_NAMES) {
  Object.defineProperty(Methods.prototype, operation, {
    value(
      this: { call(operation: OperationName, request: FsRequest): unknown },
      request: FsRequest,
    ) {
      return this.call(operation, request);
    },
  });
}
