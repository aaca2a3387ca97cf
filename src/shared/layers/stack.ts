/**
 * Layers on top of each other, on one thread. Between two of them stands a border: what a layer
 * throws, or answers that is none, ends there, as EIO, and the log has its name.
 */
import { Errno } from './errno.ts';
import { Methods } from './methods.ts';
import { BEGIN_AGAIN } from './passthrough-below.ts';
import { encodeAnswer } from './replies.ts';
import type { FileSystem, FsRequest, Layer, OperationName } from './types.ts';

/** What a stack tells about its layers. */
export interface StackEvents {
  /** A layer's method begins, or goes on after a call below: its place; -1 where none runs. */
  onEnter(place: number): void;
  onMistake(layer: string, operation: OperationName, error: unknown): void;
}

type Method = (request: FsRequest, next: FileSystem) => unknown;

class Border extends Methods {
  readonly #place: number;
  readonly #layer: Layer;
  readonly #below: FileSystem;
  readonly #events: StackEvents;

  constructor(place: number, layer: Layer, below: FileSystem, events: StackEvents) {
    super();
    this.#place = place;
    this.#layer = layer;
    this.#below = below;
    this.#events = events;
  }

  protected override call(operation: OperationName, given: FsRequest): unknown {
    const layer = this.#layer;
    const method = (layer[operation] ?? layer.otherwise) as Method | undefined;
    const request = given.operation === operation ? given : ({ ...given, operation } as FsRequest);
    try {
      if (method === undefined) return this.#below.run(request);
      this.#events.onEnter(this.#place);
      const answer = method.call(layer, request, this.#below);
      encodeAnswer(request, answer);
      return answer;
    } catch (error) {
      if (error === BEGIN_AGAIN) throw error;
      this.#events.onMistake(layer.name, operation, error);
      return Errno.EIO;
    } finally {
      this.#events.onEnter(this.#place - 1);
    }
  }
}

/** Leaves the layer above it, and comes back to it. */
class Floor extends Methods {
  readonly #below: Methods;
  readonly #events: StackEvents;
  readonly #place: number;

  constructor(below: Methods, place: number, events: StackEvents) {
    super();
    this.#below = below;
    this.#place = place;
    this.#events = events;
  }

  protected override call(operation: OperationName, request: FsRequest): unknown {
    this.#events.onEnter(-1);
    try {
      return (this.#below as unknown as Record<string, (r: FsRequest) => unknown>)[operation]?.(
        request,
      );
    } finally {
      this.#events.onEnter(this.#place);
    }
  }
}

/**
 * Puts layers on a file system, the first one outermost.
 * @param base what is below all of them
 */
export function stackLayers(
  base: FileSystem,
  layers: readonly Layer[],
  events: StackEvents,
): FileSystem {
  const floor = new Floor(base as unknown as Methods, layers.length - 1, events);
  return layers.reduceRight<FileSystem>(
    (below, layer, place) => new Border(place, layer, below, events) as unknown as FileSystem,
    floor as unknown as FileSystem,
  );
}
